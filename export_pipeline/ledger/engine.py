"""Connections to the ledger's database, and its migrations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text

from export_pipeline.databases import opening
from export_pipeline.locks import lock
from export_pipeline.settings import Settings

BUSY_SECONDS = 30
_MIGRATIONS = Path(__file__).parent / "migrations"


def connect(settings: Settings) -> Engine:
    """An engine on the ledger, migrated to the newest revision.

    Raises:
        DamagedData, TransientError: see ``databases.opening``.
    """
    settings.ledger_file.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{settings.ledger_file}", connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    newest = max(path.stem for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")).split("_")[0]
    with opening(settings.ledger_file, settings):
        if _revision(engine) != newest:
            with lock(settings, "migration"):
                _upgrade(engine)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for one consistent look that waits for no writer."""
    with engine.connect().execution_options(read_only=True) as connection, connection.begin():
        yield connection


def _configure(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver opens no transaction by itself; _begin does
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    # SQLite's default takes the write lock at the first write, when a reader that wants to write may
    # find its snapshot outdated; taking it at the start makes writers wait instead of fail.
    if connection.get_execution_options().get("read_only"):
        connection.exec_driver_sql("BEGIN DEFERRED")
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _revision(engine: Engine) -> str | None:
    with engine.connect().execution_options(read_only=True) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("select version_num from alembic_version")).scalar()


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
