"""polars: its streaming sinks at the fastest gzip level.

JSONL has ``data`` as JSON text in a string, as polars cannot pass JSON through; building the line with
``concat_str`` passes it through and takes longer. For CSV ``data`` is decoded into a struct of strings; a
field of any type, which that cannot hold, is taken by its path.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from export_pipeline.events.catalogue import DATA_TYPES, DataType

_FASTEST = 1


def write(files: Sequence[str], data_type: str, format: str, compression: str, out: str) -> None:
    """Write the rows of ``files`` to ``out``."""
    kind = DATA_TYPES[data_type]
    rows = pl.scan_parquet(list(files), hive_partitioning=False).sort("timestamp", "eventId")
    if format == "csv":
        texts = [name for name in kind.data_fields if name not in _any_fields(kind)]
        parsed = pl.col("data").str.json_decode(pl.Struct(dict.fromkeys(texts, pl.String)))
        rows = rows.with_columns(parsed.alias("parsed"))
    rows = rows.select(_columns(kind, format))
    options: dict[str, Any] = {"compression": "uncompressed"}
    if compression == "gzip":
        options = {"compression": "gzip", "compression_level": _FASTEST}
    sink = rows.sink_ndjson if format == "jsonl" else rows.sink_csv
    sink(out, check_extension=False, **options)


def _columns(kind: DataType, format: str) -> list[pl.Expr]:
    columns: list[pl.Expr] = []
    for field in kind.row_fields:
        if field.name == "dataType":
            columns.append(pl.lit(kind.name).alias(field.name))
        elif field.datetime:
            columns.append(pl.col(field.name).dt.to_string("%Y-%m-%dT%H:%M:%S%.3fZ"))
        elif field.type == "object" and format == "csv":
            columns += [_cell(kind, name) for name in kind.data_fields]
        else:
            columns.append(pl.col(field.name))
    return columns


def _cell(kind: DataType, name: str) -> pl.Expr:
    with_any = _any_fields(kind).get(name)
    if with_any is None:
        return pl.col("parsed").struct.field(name).alias(f"data.{name}")
    value = pl.col("data").str.json_path_match(f"$.{name}")
    return pl.when(pl.col("event").is_in(with_any)).then(value).alias(f"data.{name}")


def _any_fields(kind: DataType) -> dict[str, list[str]]:
    """The fields of ``data`` that are not plain values, with the events that have them."""
    found: dict[str, list[str]] = {}
    for event in kind.events:
        for field in event.fields:
            if field.type in ("any", "object"):
                found.setdefault(field.name, []).append(event.name)
    return found
