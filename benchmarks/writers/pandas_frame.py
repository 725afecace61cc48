"""pandas, on the first part of the day only: its frame is in memory as a whole."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from export_pipeline.events.catalogue import DATA_TYPES

_FASTEST = {"method": "gzip", "compresslevel": 1}


def write(files: Sequence[str], data_type: str, format: str, compression: str, out: str, until: str) -> None:
    """Write the rows of ``files`` before the instant ``until`` to ``out``.

    JSONL has ``data`` as JSON text in a string, which spares pandas parsing it.
    """
    kind = DATA_TYPES[data_type]
    names = [field.name for field in kind.incoming_fields]
    before: Any = [("timestamp", "<", datetime.fromisoformat(until))]
    rows = pd.read_parquet(list(files), columns=names, filters=before)  # type: ignore[call-overload]
    rows = rows.sort_values(["timestamp", "eventId"])
    rows["dataType"] = data_type
    compressed: Any = _FASTEST if compression == "gzip" else None
    if format == "jsonl":
        rows.to_json(
            out, orient="records", lines=True, date_format="iso", date_unit="ms", compression=compressed
        )
        return
    for field in kind.incoming_fields:
        if field.datetime:
            moments = rows[field.name].dt.tz_localize(None).to_numpy()
            rows[field.name] = np.char.add(np.datetime_as_string(moments, unit="ms"), "Z")
    parsed = [json.loads(text) for text in rows["data"]]
    position = rows.columns.get_loc("data")
    for name in reversed(kind.data_fields):
        rows.insert(position, f"data.{name}", [_cell(values.get(name)) for values in parsed])
    rows.drop(columns="data").to_csv(out, index=False, lineterminator="\n", compression=compressed)


def _cell(value: object) -> object:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
