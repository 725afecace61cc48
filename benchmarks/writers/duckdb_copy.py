"""DuckDB's own writer, ``COPY``; it has no gzip level to choose."""

from collections.abc import Sequence

import duckdb

from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.sql import literal, parquet, quoted


def write(files: Sequence[str], data_type: str, format: str, compression: str, out: str) -> None:
    """Write the rows of ``files`` to ``out``."""
    kind = DATA_TYPES[data_type]
    columns = []
    for field in kind.row_fields:
        if field.name == "dataType":
            columns.append(f"{literal(data_type)} as dataType")
        elif field.datetime:
            columns.append(f"strftime({field.name}::timestamp, '%Y-%m-%dT%H:%M:%S.%gZ') as {field.name}")
        elif field.type == "object" and format == "jsonl":
            columns.append(f"{field.name}::json as {field.name}")
        elif field.type == "object":
            columns += [
                f"parsed[{place}] as {quoted(f'data.{name}')}"
                for place, name in enumerate(kind.data_fields, 1)
            ]
        else:
            columns.append(field.name)
    paths = ", ".join(literal(f"$.{name}") for name in kind.data_fields)
    parsed = f", json_extract_string(data, [{paths}]) as parsed" if format == "csv" else ""
    options = "format json" if format == "jsonl" else "format csv, header"
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(
            f"copy (select {', '.join(columns)} from (select *{parsed} from {parquet(files)}) stored "
            f"order by stored.timestamp, stored.eventId) to {literal(out)} "
            f"({options}, compression {compression})"
        )
