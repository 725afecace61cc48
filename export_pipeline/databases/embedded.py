"""SQLite files of the state root: engines on them, and what it means when one is lost or cannot be used."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError

from export_pipeline import objects
from export_pipeline.errors import DamagedData, TransientError
from export_pipeline.settings import Settings
from export_pipeline.storage_full import is_full, no_room

BUSY_SECONDS = 30
_PAUSE_SECONDS = 0.01
LOOK = {"read_only": True}
"""The options of a connection for one consistent look."""


def url(path: Path) -> str:
    """The address of the database at ``path``."""
    return f"sqlite:///{path}?timeout={BUSY_SECONDS}"


def engine(path: Path) -> Engine:
    """An engine on the database at ``path``: writing transactions are one at a time, from their beginning,
    and what is deleted leaves no bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True)
    event.listen(made, "connect", _configure)
    event.listen(made, "begin", _begin)
    return made


def _configure(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver opens no transaction by itself; _begin does
    cursor = connection.cursor()
    _write_ahead(cursor)
    for pragma in ("synchronous=FULL", "secure_delete=ON", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Have a database log its writes ahead, as a new one does not yet."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # SQLite itself does not wait for others that change the mode, or make the first tables, just now.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_PAUSE_SECONDS)


def _begin(connection: Connection) -> None:
    # SQLite's default takes the write lock at the first write, when a reader that wants to write may
    # find its snapshot outdated; taking it at the start makes writers wait instead of fail.
    if connection.get_execution_options().get("read_only"):
        connection.exec_driver_sql("BEGIN DEFERRED")
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def opening(path: Path, settings: Settings) -> Iterator[None]:
    """See ``databases.opening``."""
    written = (path, path.with_name(f"{path.name}-wal"))
    if not any(map(_filled, written)) and objects.holds_rows(settings.store):
        raise DamagedData(f"{path.name} is missing or empty while the store holds rows; restore it")
    try:
        yield
    except DatabaseError as error:
        if is_full(error):
            raise no_room(f"write {path.name}") from None
        if "locked" in str(error.orig):
            raise TransientError(f"{path.name} is locked by others; try again") from None
        if isinstance(error, OperationalError):
            raise DamagedData(f"{path.name} cannot be opened: {error.orig}") from None
        raise DamagedData(f"{path.name} cannot be used: {error.orig}; restore it") from None


def _filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
