"""A fault in the middle leaves nothing half made, and the next run puts it right."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from export_pipeline.errors import DamagedData
from export_pipeline.exports import DailyExport, verify
from export_pipeline.exports.publishing import scratch, sweep
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.tables import TABLE_OF
from export_pipeline_tests.conditions import PATIENCE, until
from export_pipeline_tests.exports.conftest import NOW, Land
from export_pipeline_tests.exports.encoded import DAY
from export_pipeline_tests.rows import row
from export_pipeline_tests.small_disk import needs_small_disk, on_small_disk

Daily = Callable[..., DailyExport]

_EXPORT = f"""
from datetime import date, datetime
from export_pipeline.errors import ExportPipelineError
from export_pipeline.exports import export_day
from export_pipeline.ledger import Ledger
from export_pipeline.settings import load
from export_pipeline.store import Store
settings = load()
try:
    export_day("events", "jsonl", date.fromisoformat("{DAY}"), settings=settings, store=Store(settings),
               ledger=Ledger(settings), now=datetime.fromisoformat("{NOW.isoformat()}"))
except ExportPipelineError as error:
    print(type(error).__name__, error)
"""


def in_another_process(
    settings: Settings, before: Sequence[str] = (), fault: str = ""
) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "EXPORT_PIPELINE_HOME": str(settings.root),
        "EXPORT_PIPELINE_FAULT_POINT": fault,
    }
    return subprocess.run(
        [*before, sys.executable, "-c", _EXPORT], env=environment, capture_output=True, text=True, check=False
    )


def left_behind(settings: Settings) -> list[Path]:
    return list((settings.tmp / "exports").iterdir())


@pytest.mark.parametrize("point", ["export.events", "export.written", "export.sealed", "export.published"])
def test_a_killed_export_leaves_nothing_half_made_and_a_rerun_is_right(
    land: Land, daily: Daily, settings: Settings, point: str
) -> None:
    land([row(n) for n in range(50)])
    killed = in_another_process(settings, fault=point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    if point != "export.published":
        assert not list(settings.exports.rglob("*.*"))
    assert daily().rows == 50
    assert verify(settings.exports).problems == ()
    daily("ads")
    assert left_behind(settings) == []


def test_scratch_directories_of_live_processes_are_left_alone(tmp_path: Path) -> None:
    with scratch(tmp_path, "export-") as mine, scratch(tmp_path, "export-") as other:
        assert mine.is_dir()
        assert other.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_what_somebody_still_writes_for_a_dead_process_is_swept_too(tmp_path: Path) -> None:
    left = tmp_path / "export-1"
    left.mkdir()
    (tmp_path / "export-1.lock").touch()
    for number in range(2_000):  # which take a while to remove
        (left / f"{number}").touch()

    def write_on() -> None:
        for number in range(10_000):
            (left / f"more-{number}").touch()
            time.sleep(0.0005)

    with ThreadPoolExecutor(1) as writer:
        writing = writer.submit(write_on)
        until((left / "more-0").exists)
        sweep(tmp_path, "export-")
        with pytest.raises(FileNotFoundError):
            writing.result(PATIENCE)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_store_file_is_named_and_no_export_appears(
    land: Land, daily: Daily, store: Store, settings: Settings
) -> None:
    land([row(n) for n in range(50)])
    gone = Path(store.files(TABLE_OF["events"])[0])
    gone.unlink()
    with pytest.raises(DamagedData) as failed:
        daily()
    assert failed.value.message == f"store file {gone.relative_to(settings.root)} is missing"
    assert not list(settings.exports.rglob("*.*"))
    assert left_behind(settings) == []


@pytest.mark.parametrize("cut", [4, 400])
def test_a_damaged_store_file_is_named_and_no_export_appears(
    land: Land, daily: Daily, store: Store, settings: Settings, cut: int
) -> None:
    land([row(n) for n in range(50)])
    damaged = Path(store.files(TABLE_OF["events"])[1])
    damaged.write_bytes(damaged.read_bytes()[:-cut])
    with pytest.raises(DamagedData) as failed:
        daily()
    assert f"{damaged.name} cannot be read" in failed.value.message
    assert str(settings.root) not in failed.value.message
    assert not list(settings.exports.rglob("*.*"))


def test_rows_that_vanished_from_the_store_are_noticed(
    land: Land, daily: Daily, store: Store, settings: Settings
) -> None:
    land([row(n) for n in range(50)])
    store.table(TABLE_OF["events"]).delete("eventId = 'evt_00000007'")
    with pytest.raises(DamagedData, match="49 rows of events on 2026-11-20; the ledger counts 50"):
        daily()
    assert not list(settings.exports.rglob("*.*"))


@needs_small_disk
def test_a_full_disk_is_said_and_leaves_nothing(land: Land, daily: Daily, settings: Settings) -> None:
    land([row(n, timestamp=row(0)["timestamp"] + timedelta(milliseconds=n)) for n in range(5_000)])
    run = in_another_process(settings, on_small_disk(settings.tmp / "exports", "24k"))
    assert run.stdout.startswith("StorageFull no room is left to write in"), run.stderr
    assert not list(settings.exports.rglob("*.*"))
    assert daily().rows == 5_000
