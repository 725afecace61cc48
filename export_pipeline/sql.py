"""SQL text for DuckDB: quoting, and reading Parquet files."""

from collections.abc import Iterable
from pathlib import Path

from upath import UPath


def quoted(name: str) -> str:
    """``name`` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """``text`` as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def parquet(files: Iterable[UPath | Path | str]) -> str:
    """A table expression over Parquet ``files`` of one schema; their folders' names are no columns."""
    return f"read_parquet([{', '.join(literal(str(file)) for file in files)}], hive_partitioning = false)"
