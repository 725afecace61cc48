"""Locks between all machines of a deployment: each is held by a session of its PostgreSQL database.

A session ends with the process that holds it, soon after its machine has gone, and when the server restarts;
with it goes the lock. The database is the deployment: two in one server are told apart by it.
"""

import hashlib
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError

from export_pipeline.databases import postgres
from export_pipeline.errors import TransientError
from export_pipeline.settings import Settings

_IDLE = 2
"""Sessions kept open for the next lock."""
_PREFIX = "export_pipeline:"

_held: set["Held"] = set()
_holding = threading.Lock()


class Held:
    """A lock that this process holds by a session of its own, until the block ends."""

    def __init__(self, connection: Connection, name: str, key: str) -> None:
        self._connection = connection
        self._name, self._key = name, key
        self._using = threading.Lock()
        with _holding:
            _held.add(self)

    def __enter__(self) -> "Held":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Who confirms all that is held may be at this one.
        with self._using:
            with _holding:
                _held.discard(self)
            kept = self._free()
        if not kept and error is None:
            raise self._lost()

    def _free(self) -> bool:
        """Give the session back; whether it still held the lock."""
        try:
            free = f"select pg_advisory_unlock({self._key})"
            kept = bool(self._connection.exec_driver_sql(free).scalar())
        except DBAPIError:
            kept = False
        if not kept:
            self._connection.invalidate()
        self._connection.close()
        return kept

    def confirm(self) -> None:
        """Raise if the session has ended; one whose block has ended meanwhile is no loss."""
        with self._using:
            with _holding:
                if self not in _held:
                    return
            # By the driver itself, as the holder's thread may have asked it last.
            session: Any = self._connection.connection.dbapi_connection
            try:
                with session.cursor() as cursor:
                    cursor.execute("select 1")
            except Exception:
                raise self._lost() from None

    def _lost(self) -> TransientError:
        return TransientError(
            f"the connection to the database that held the lock {self._name} broke, so that another may hold "
            "it now; try again"
        )


def take(settings: Settings, name: str) -> Held | None:
    """The lock ``name``; None if it is not free.

    Raises:
        TransientError: if the database cannot be reached.
    """
    return _take(settings, name, str(_key(name)))


def _take(settings: Settings, name: str, key: str) -> Held | None:
    with _telling():
        connection = _engine(settings).connect()
        try:
            if connection.exec_driver_sql(f"select pg_try_advisory_lock({key})").scalar():
                return Held(connection, name, key)
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        connection.close()
        return None


def join(settings: Settings, group: str) -> Held:
    """A lock of ``group`` that nobody else asks for.

    Raises:
        TransientError: if the database cannot be reached.
    """
    # Locks of two numbers are apart from those of one; the first is that of the group.
    while True:
        member = secrets.randbits(31)
        if taken := _take(settings, f"{group}-{member}", f"{_group(group)}, {member}"):
            return taken


def members(settings: Settings, group: str) -> frozenset[str]:
    """The names of those who hold a lock of ``group``.

    Raises:
        TransientError: if the database cannot be reached.
    """
    query = (
        "select objid::bigint from pg_locks where locktype = 'advisory' and granted and objsubid = 2 "
        "and database = (select oid from pg_database where datname = current_database()) "
        f"and classid::bigint = {_group(group)}"
    )
    with _telling(), _engine(settings).connect() as connection:
        return frozenset(f"{group}-{member}" for member in connection.exec_driver_sql(query).scalars())


def _group(name: str) -> int:
    return _key(name) & 0x7FFF_FFFF


def is_held(settings: Settings, name: str) -> bool:
    """Whether somebody alive holds the lock ``name``; it is not taken for that.

    Raises:
        TransientError: if the database cannot be reached.
    """
    number = _key(name) % (1 << 64)
    query = (
        "select exists (select from pg_locks where locktype = 'advisory' and granted and objsubid = 1 "
        "and database = (select oid from pg_database where datname = current_database()) "
        f"and classid::bigint = {number >> 32} and objid::bigint = {number & 0xFFFF_FFFF})"
    )
    with _telling(), _engine(settings).connect() as connection:
        return bool(connection.exec_driver_sql(query).scalar())


def confirm() -> None:
    """Make sure that this process still holds every lock it holds by a session.

    Raises:
        TransientError: if one was lost, so that another process may be at the same work.
    """
    with _holding:
        held = tuple(_held)
    for each in held:
        each.confirm()


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        postgres.told(error)


def _engine(settings: Settings) -> Engine:
    return _engine_at(postgres.url(settings, idle_session_timeout="0"))


@lru_cache(maxsize=8)
def _engine_at(url: URL) -> Engine:
    return create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_pre_ping=True,
        pool_size=_IDLE,
        max_overflow=-1,
        hide_parameters=True,
    )


def _key(name: str) -> int:
    digest = hashlib.blake2b((_PREFIX + name).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
