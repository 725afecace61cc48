"""Connections to the ledger's database, and its migrations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from export_pipeline import databases
from export_pipeline.databases import LEDGER
from export_pipeline.errors import Conflict
from export_pipeline.locks import lock
from export_pipeline.settings import Settings

_MIGRATIONS = Path(__file__).parent / "migrations"


def connect(settings: Settings) -> Engine:
    """An engine on the ledger, migrated to the newest revision.

    Raises:
        Conflict: if a newer program has migrated it further than this one knows.
        DamagedData, TransientError: see ``databases.opening``.
    """
    engine = databases.engine(settings, LEDGER)
    known = sorted(path.stem.split("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
    with databases.opening(settings, LEDGER):
        if _revision(engine) != known[-1]:
            with lock(settings, "migration"):
                found = _revision(engine)
                if found is not None and found not in known:
                    raise Conflict(
                        f"the ledger has revision {found}, made by a newer program; this one knows up to "
                        f"{known[-1]}: run the newer one"
                    )
                _upgrade(engine)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for one consistent look that waits for no writer."""
    with databases.look(engine) as connection, connection.begin():
        yield connection


def _revision(engine: Engine) -> str | None:
    with databases.look(engine) as connection:
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
