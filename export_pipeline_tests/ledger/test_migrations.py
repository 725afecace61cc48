"""The ledger's migrations are one line, each of which every deployment can take from the one before."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from export_pipeline import databases
from export_pipeline.databases import LEDGER
from export_pipeline.ledger import migrations
from export_pipeline.ledger.tables import metadata
from export_pipeline.settings import Settings, load
from export_pipeline_tests.postgres import Server

FOLDER = Path(migrations.__file__).parent


@pytest.fixture
def config() -> Config:
    made = Config()
    made.set_main_option("script_location", str(FOLDER))
    return made


@pytest.fixture
def engine(backend: str, settings: Settings, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine on a database without tables."""
    if backend != "postgres":
        yield databases.engine(settings, LEDGER)
        return
    server: Server = request.getfixturevalue("postgres_server")
    name = "migrated_step_by_step"
    server.run(f"create database {name}")
    try:
        made = load(
            {"EXPORT_PIPELINE_HOME": str(settings.root), "EXPORT_PIPELINE_DATABASE": server.url(name)}
        )
        with databases.opening(made, LEDGER):
            yield databases.engine(made, LEDGER)
    finally:
        server.run(f"drop database {name} with (force)")


def revisions(config: Config) -> list[str]:
    """All revisions, oldest first."""
    return [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()][::-1]


def test_there_is_one_newest_revision_and_their_numbers_leave_none_out(config: Config) -> None:
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1
    files = sorted(path.name[:4] for path in (FOLDER / "versions").glob("[0-9]*.py"))
    assert files == revisions(config) == [f"{number:04d}" for number in range(1, len(files) + 1)]


@pytest.mark.backends("postgres")
def test_every_revision_can_be_taken_from_the_one_before_and_given_back(
    config: Config, engine: Engine
) -> None:
    tables = list[dict[str, set[str]]]()

    def go(to: str) -> dict[str, set[str]]:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            (command.upgrade if to.isdigit() else command.downgrade)(config, to)
            found = inspect(connection)
            return {
                table: {each["name"] for each in found.get_columns(table)}
                for table in found.get_table_names()
            }

    for revision in revisions(config):
        tables.append(go(revision))
        with engine.connect() as connection:
            assert connection.execute(text("select version_num from alembic_version")).scalar() == revision
        if len(tables) > 1:
            assert go("-1") == tables[-2], revision
            assert go(revision) == tables[-1]
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
