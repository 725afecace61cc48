"""Taking ids out of whatever text the ledger holds, such as the names of landing files, for good."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import JSON, Engine, Row, String

from export_pipeline.errors import TransientError
from export_pipeline.ledger.tables import Text, metadata
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
            if isinstance(column.type, Text | String | JSON) and not column.primary_key:
                names = quoted(table.name), quoted(column.name)
                if engine.dialect.name == "postgresql":
                    kind = "json" if isinstance(column.type, JSON) else "text"
                    replaced += _replace_at_once(engine, *names, kind, replace)
                else:
                    replaced += _replace_column(engine, *names, replace)
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
            found, changed = _changed(rows, replace)
            replaced, last = replaced + found, rows[-1][0]
            if changed:
                connection.exec_driver_sql(f"update {table} set {column} = ? where rowid = ?", changed)


def _replace_at_once(engine: Engine, table: str, column: str, kind: str, replace: Replace) -> int:
    """The same where rows have no numbers: nobody else writes until it is done."""
    replaced = 0
    with engine.begin() as connection:
        rows = connection.exec_driver_sql(
            f"select ctid::text, {column}::text from {table} where {column} is not null",
            execution_options={"stream_results": True, "max_row_buffer": _ROWS},
        )
        for some in rows.partitions(_ROWS):
            found, changed = _changed(some, replace)
            replaced += found
            if changed:
                connection.exec_driver_sql(
                    f"update {table} set {column} = %s::{kind} where ctid = %s::tid", changed
                )
    return replaced


def _changed(rows: Sequence[Row[Any]], replace: Replace) -> tuple[int, list[tuple[str, Any]]]:
    """How much is replaced in rows of a number and a text, and the changed texts with their numbers."""
    numbers, texts = zip(*rows, strict=True)
    before = pa.array(map(str, texts), pa.large_string())
    after, found = replace(before)
    if not found:
        return 0, []
    return found, [
        (new, number)
        for number, old, new in zip(numbers, before.to_pylist(), after.to_pylist(), strict=True)
        if new != old
    ]


def empty_log(engine: Engine) -> None:
    """Leave no more of what was replaced or removed than cannot be helped: SQLite's log is moved into the
    database and emptied; PostgreSQL's dead rows are cleared away, and its statistics of values made anew.

    Raises:
        TransientError: if others read for too long.
    """
    if engine.dialect.name == "postgresql":
        _vacuum(engine)
    else:
        _checkpoint(engine)


def _vacuum(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        session = connection.connection
        cursor = session.cursor()
        for table in metadata.sorted_tables:
            cursor.execute(f"vacuum (analyze) {quoted(table.name)}")
        cursor.close()


def _checkpoint(engine: Engine) -> None:
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
