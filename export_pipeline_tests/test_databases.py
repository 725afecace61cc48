"""A database that is lost or damaged is named, and nothing goes on without it."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from export_pipeline.errors import DamagedData
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.conditions import PATIENCE
from export_pipeline_tests.rows import row, table

Open = Callable[[Settings], object]


def open_catalog(settings: Settings) -> object:
    return Store(settings).files("engagement_events")


@pytest.fixture
def filled(settings: Settings) -> Settings:
    Ledger(settings)
    Store(settings).append("engagement_events", [table([row(1)])], {"batch": "b1"})
    return settings


def wipe(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


@pytest.mark.parametrize(("name", "use"), [("ledger.db", Ledger), ("catalog.db", open_catalog)])
def test_a_lost_or_emptied_database_is_not_made_anew_beside_stored_rows(
    filled: Settings, name: str, use: Open
) -> None:
    path = filled.root / name
    wipe(path)
    for _ in range(2):
        with pytest.raises(DamagedData, match=f"{name} is missing or empty while the store holds rows"):
            use(filled)
        path.touch()


@pytest.mark.parametrize(("name", "use"), [("ledger.db", Ledger), ("catalog.db", open_catalog)])
def test_a_file_that_is_no_database_is_named(filled: Settings, name: str, use: Open) -> None:
    path = filled.root / name
    wipe(path)
    path.write_bytes(b"no database " * 1000)
    with pytest.raises(DamagedData, match=f"{name} cannot be used: file is not a database"):
        use(filled)


@pytest.mark.parametrize(("name", "use"), [("ledger.db", Ledger), ("catalog.db", open_catalog)])
def test_a_directory_in_its_place_is_named(settings: Settings, name: str, use: Open) -> None:
    (settings.root / name).mkdir(parents=True)
    with pytest.raises(DamagedData, match=f"{name} cannot be opened"):
        use(settings)


def test_a_new_deployment_makes_both(settings: Settings) -> None:
    Ledger(settings)
    assert open_catalog(settings) == []


def test_a_database_that_another_process_is_making_just_now_is_waited_for(settings: Settings) -> None:
    settings.root.mkdir(parents=True)
    with (
        closing(sqlite3.connect(settings.root / "ledger.db", isolation_level=None)) as other,
        ThreadPoolExecutor(1) as threads,
    ):
        other.execute("begin immediate")
        opened = threads.submit(Ledger, settings)
        with pytest.raises(TimeoutError):
            opened.result(1)
        other.execute("commit")
        assert opened.result(PATIENCE).open_batches() == []
