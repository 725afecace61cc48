"""Schemas of one PostgreSQL database: engines on them, and what it means when it cannot be reached or used.

Sessions are bounded: one that hangs, or whose machine has gone, ends by itself and frees what it holds.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import NullPool

from export_pipeline import objects
from export_pipeline.errors import DamagedData, TransientError
from export_pipeline.settings import Settings
from export_pipeline.storage_full import is_full, no_room

CONNECT_SECONDS = 10
BUSY_SECONDS = 30
LOOK: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""The options of a connection for one consistent look."""

_WRITING = 0x6578_706F_7274_7301
"""The advisory lock under which the ledger is written."""
_SESSION = {
    "timezone": "UTC",
    "lock_timeout": f"{BUSY_SECONDS}s",
    "idle_in_transaction_session_timeout": "5min",
    # By these the server finds out that a machine has gone; by default it takes hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
_KEEPALIVE = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    # Probes are sent only while nothing waits for an answer; what was sent is given up after as long.
    "tcp_user_timeout": "60000",
}


def is_used(settings: Settings) -> bool:
    """Whether the deployment's databases are in PostgreSQL."""
    return bool(settings.database.get_secret_value())


def url(settings: Settings, schema: str | None = None, **session: str) -> URL:
    """The address for connections that find their tables in ``schema``.

    Args:
        session: what else is set in their sessions.
    """
    plain = make_url(settings.database.get_secret_value()).set(drivername="postgresql+psycopg2")
    wanted = {**_SESSION, **({"search_path": schema} if schema else {}), **session}
    given = plain.query.get("options", "")
    options = " ".join([given if isinstance(given, str) else " ".join(given), *_options(wanted)]).strip()
    defaults = {"connect_timeout": str(CONNECT_SECONDS), "application_name": "export_pipeline", **_KEEPALIVE}
    return plain.set(query={**defaults, **plain.query, "options": options})


def _options(wanted: dict[str, str]) -> list[str]:
    return [f"-c {name}={value}" for name, value in wanted.items()]


def engine(settings: Settings, schema: str) -> Engine:
    """An engine on the tables of ``schema``: writing transactions are one at a time, from their beginning."""
    # What a transaction reads after it has waited for others must be what they have written.
    made = create_engine(
        url(settings, schema), pool_pre_ping=True, isolation_level="READ COMMITTED", hide_parameters=True
    )
    event.listen(made, "begin", _begin)
    event.listen(made, "handle_error", _alike)
    return made


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get("postgresql_readonly"):
        connection.exec_driver_sql(f"select pg_advisory_xact_lock({_WRITING})")


def _alike(context: ExceptionContext) -> None:
    """Tell of every lost connection by the same class, whichever part of the driver noticed it."""
    error = context.sqlalchemy_exception
    if context.is_disconnect and not isinstance(error, OperationalError) and error is not None:
        raise OperationalError(None, None, context.original_exception, connection_invalidated=True)


@contextmanager
def opening(schema: str, settings: Settings) -> Iterator[None]:
    """See ``databases.opening``."""
    try:
        if not _tables(schema, settings):
            if objects.holds_rows(settings.store):
                raise DamagedData(
                    f"the schema {schema} of the database is missing or empty while the store holds rows; "
                    "restore it"
                )
            with _once(settings) as connection:
                # Of two that make it at the same time, one would fail.
                connection.exec_driver_sql(f"select pg_advisory_xact_lock({_WRITING})")
                connection.exec_driver_sql(f"create schema if not exists {schema}")
        yield
    except DBAPIError as error:
        told(error)


def told(error: DBAPIError) -> NoReturn:
    """Raise what an error of the driver means for whoever opens the database."""
    if is_full(error):
        raise no_room("write in the database") from None
    # What comes after the first line are hints and values.
    reason = (str(error.orig).strip().splitlines() or ["no reason given"])[0]
    if isinstance(error, OperationalError | InterfaceError):
        raise TransientError(f"the database cannot be reached or is busy: {reason}; try again") from None
    raise DamagedData(f"the database cannot be used: {reason}") from None


def _tables(schema: str, settings: Settings) -> list[str]:
    with _once(settings) as connection:
        return inspect(connection).get_table_names(schema=schema)


def _once(settings: Settings) -> AbstractContextManager[Connection]:
    return create_engine(url(settings), poolclass=NullPool, hide_parameters=True).begin()
