"""The deployment's databases: SQLite files of the state root, or schemas of one PostgreSQL database.

The one home of engines, and of what it means when a database is lost or cannot be used. Writing transactions
are one at a time on both, each seeing all that was written before it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from export_pipeline.databases import embedded, postgres
from export_pipeline.settings import Settings

LEDGER, CATALOG = "ledger", "catalog"
SCHEMAS = {LEDGER: "export_pipeline", CATALOG: "export_pipeline_catalog"}
"""Where PostgreSQL holds the tables of each."""


def engine(settings: Settings, name: str) -> Engine:
    """An engine on the database ``name``; it connects on first use."""
    if postgres.is_used(settings):
        return postgres.engine(settings, SCHEMAS[name])
    return embedded.engine(settings.root / f"{name}.db")


def address(settings: Settings, name: str) -> str:
    """The address of the database ``name`` for who connects by itself; it holds the password."""
    if postgres.is_used(settings):
        return postgres.url(settings, SCHEMAS[name]).render_as_string(hide_password=False)
    return embedded.url(settings.root / f"{name}.db")


@contextmanager
def opening(settings: Settings, name: str) -> Iterator[None]:
    """The block opens the database ``name``, or makes it where nothing is stored yet.

    Raises:
        DamagedData: if it is lost or empty while the store holds rows, as going on without it would lose or
            double them; or if it is no database, or may not be used.
        TransientError: if it cannot be reached, or others kept it locked for too long.
        StorageFull: if there is no room for it.
    """
    found = (
        postgres.opening(SCHEMAS[name], settings)
        if postgres.is_used(settings)
        else embedded.opening(settings.root / f"{name}.db", settings)
    )
    with found:
        yield


def look(engine: Engine) -> Connection:
    """A connection whose transaction changes nothing, waits for no writer and sees one state of things."""
    options = postgres.LOOK if engine.dialect.name == "postgresql" else embedded.LOOK
    return engine.connect().execution_options(**options)
