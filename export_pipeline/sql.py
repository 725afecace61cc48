"""SQL text for DuckDB: quoting, and reading Parquet files."""

from collections.abc import Iterable


def quoted(name: str) -> str:
    """``name`` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """``text`` as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def parquet(files: Iterable[str]) -> str:
    """A table expression over Parquet ``files`` of one schema; their folders' names are no columns."""
    return f"read_parquet([{', '.join(map(literal, files))}], hive_partitioning = false)"
