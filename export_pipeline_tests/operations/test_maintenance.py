"""A round of maintenance reaches every table and respects what is under way."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq

from export_pipeline.days import utc_now
from export_pipeline.ledger import Ledger
from export_pipeline.operations.maintenance import maintain
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.rows import row, table

EVENTS = "engagement_events"


def append(store: Store, batch: str, number: int) -> None:
    rows = [row(number, userId="user_00000001")]
    store.append(EVENTS, [table(rows)], {"batch": batch})


def test_a_crowded_day_is_compacted_and_its_old_files_go_after_an_hour(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    for number in range(5):
        append(store, f"b{number}", number)
    now = utc_now()
    first = maintain(settings, store, ledger, now)[EVENTS]
    assert [done.files_after for done in first.compacted] == [1]
    assert first.expired.files == 0
    second = maintain(settings, store, ledger, now + timedelta(hours=2))[EVENTS]
    assert second.compacted == ()
    assert second.expired.files > 5
    [path] = store.files(EVENTS)
    assert list(settings.store.rglob("*.parquet")) == [Path(path)]
    assert pq.read_table(path, partitioning=None).num_rows == 5


def test_a_batch_the_ledger_has_not_ended_is_still_recognised_afterwards(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    batch = ledger.take_batch("events", "landing", [], utc_now())
    append(store, batch.id, 1)
    append(store, "other", 2)
    append(store, "another", 3)
    maintain(settings, store, ledger, utc_now() + timedelta(hours=2))
    assert store.committed(EVENTS, batch.id) is not None
    assert store.committed(EVENTS, "other") is None


def test_the_data_versions_stay(settings: Settings, store: Store, ledger: Ledger) -> None:
    from export_pipeline.ledger import Counts

    day = row(1)["timestamp"].date()
    for number in range(6):
        batch = ledger.take_batch("events", "landing", [], utc_now())
        append(store, batch.id, number)
        ledger.commit_batch(batch.id, Counts(1, 1), {day: 1}, utc_now())
    before = ledger.read_days("events", day, day)
    maintain(settings, store, ledger, utc_now() + timedelta(hours=2))
    assert ledger.read_days("events", day, day) == before


def test_what_a_compaction_that_died_left_is_gone_after_the_next_round(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    for number in range(5):
        append(store, f"b{number}", number)
    code = (
        "from export_pipeline.days import utc_now; from export_pipeline.ledger import Ledger\n"
        "from export_pipeline.operations.maintenance import maintain\n"
        "from export_pipeline.settings import load; from export_pipeline.store import Store\n"
        "from export_pipeline.store import maintenance; import os, signal\n"
        "maintenance.duckdb.connect = lambda **_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "settings = load(); maintain(settings, Store(settings), Ledger(settings), utc_now())\n"
    )
    environment = os.environ | {"EXPORT_PIPELINE_HOME": str(settings.home)}
    killed = subprocess.run([sys.executable, "-c", code], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert [path for path in settings.tmp.iterdir() if path.name != "locks"] != []
    maintain(settings, store, ledger, utc_now())
    assert [path for path in settings.tmp.iterdir() if path.name != "locks"] == []
