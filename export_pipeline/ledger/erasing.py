"""Taking ids out of whatever text the ledger holds, such as the names of landing files, for good."""

import time
from collections.abc import Callable

import pyarrow as pa
from sqlalchemy import JSON, Engine, String

from export_pipeline.errors import TransientError
from export_pipeline.ledger.tables import metadata
from export_pipeline.sql import quoted

Replace = Callable[[pa.Array], tuple[pa.ChunkedArray, int]]
"""Texts with what has to go replaced, and how often it was."""

_ROWS = 20_000
_PATIENCE_SECONDS = 30.0


def replace_texts(engine: Engine, replace: Replace) -> int:
    """Replace ids in every text column that is no key; how many were replaced."""
    replaced = 0
    for table in metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, String | JSON) and not column.primary_key:
                replaced += _replace_column(engine, quoted(table.name), quoted(column.name), replace)
    return replaced


def _replace_column(engine: Engine, table: str, column: str, replace: Replace) -> int:
    replaced, last = 0, -1
    while True:
        with engine.begin() as connection:
            rows = connection.exec_driver_sql(
                f"select rowid, {column} from {table} where rowid > ? and {column} is not null "
                f"order by rowid limit {_ROWS}",
                (last,),
            ).all()
            if not rows:
                return replaced
            numbers, texts = zip(*rows, strict=True)
            last = numbers[-1]
            before = pa.array(map(str, texts), pa.large_string())
            after, found = replace(before)
            if found:
                replaced += found
                changed = [
                    (new, number)
                    for number, old, new in zip(numbers, before.to_pylist(), after.to_pylist(), strict=True)
                    if new != old
                ]
                connection.exec_driver_sql(f"update {table} set {column} = ? where rowid = ?", changed)


def empty_log(engine: Engine) -> None:
    """Move what the write-ahead log holds into the database and empty it, so that nothing old is on disk.

    Raises:
        TransientError: if others read for too long.
    """
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        connection = engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            row = cursor.fetchone()
            cursor.close()
        finally:
            connection.close()
        if row is None or not row[0]:
            return
        if time.monotonic() > until:
            raise TransientError("the ledger's log is in use and cannot be emptied; try again")
        time.sleep(0.1)
