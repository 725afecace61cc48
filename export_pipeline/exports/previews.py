"""A look at the first rows of an export, without ids and free text, for metadata that many can read."""

import gzip
import json
from itertools import islice
from typing import TYPE_CHECKING

from export_pipeline.exports.manifest import Manifest
from export_pipeline.objects import AnyPath, reading

if TYPE_CHECKING:
    import pandas as pd

PREVIEW_ROWS = 10
_COLUMNS = ("event", "timestamp", "deviceType", "country", "receivedAt", "dataType")


def preview(path: AnyPath, manifest: Manifest, rows: int = PREVIEW_ROWS) -> "pd.DataFrame":
    """The first rows of the export in ``path``: only columns that say nothing of a person."""
    import pandas as pd  # takes longer to load than most exports of a small day to make

    file = next((file for file in manifest.files if file.rows), None)
    if file is None:
        return pd.DataFrame(columns=list(_COLUMNS))
    with (
        reading(path / file.name) as stored,
        gzip.open(stored, "rb") if manifest.compression == "gzip" else stored as content,
    ):
        if manifest.format == "csv":
            return pd.read_csv(content, dtype=str, nrows=rows, usecols=list(_COLUMNS), keep_default_na=False)[
                list(_COLUMNS)
            ]
        # Not by pandas, which reads no integers of more than 64 bits.
        first = [json.loads(line) for line in islice(content, rows)]
    return pd.DataFrame(first, columns=list(_COLUMNS))
