"""The slow paths stay away: work is counted, from landing files to files read back, not timed."""

import errno
import json
import os
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from export_pipeline import files
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports import ExportRequest, write_export, writing
from export_pipeline.exports.encoding import get_ready
from export_pipeline.exports.planning import plan_day
from export_pipeline.exports.request import Filters, Format
from export_pipeline.exports.scanning import Scan
from export_pipeline.exports.spans import Span, encode, spans
from export_pipeline.exports.windows import Window
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.settings import Settings, load, variable
from export_pipeline.store import Store
from export_pipeline_tests.exports.encoded import laid_out
from export_pipeline_tests.rows import NOON, row, table
from export_pipeline_tests.work import (
    CAN_COUNT_READING,
    Here,
    can_forget,
    counted_reading,
    counted_steps,
    held_bytes,
)

FEW, MANY = 1_000, 9_000
RUNS = (FEW, FEW, MANY, FEW, MANY)
STEPS_A_ROW = 0.3
"""Allowed for what grows with blocks of thousands of rows, each some hundred steps; what is done for each row
is 1 or more."""

TABLE = DATA_TYPES["events"].table
DAY = NOON.date()
NOW = NOON + timedelta(days=2)
CARE = ['{"a":"plain"}', '{"value":"=1+1"}', '{"value":{"q":[1,2]},"odd":"x, \\"y\\"\\n"}', "{}"]
"""``data`` that takes the common path, and such that needs quotes, a prefix or a cell of its own."""

formats = pytest.mark.parametrize("format", ["jsonl", "csv"])
reading = pytest.mark.skipif(not CAN_COUNT_READING, reason="this system does not count the bytes read")


def deployment(home: Path, rows: int, window_rows: int = 50_000, wide: int = 0) -> Settings:
    """A store of ``rows`` events of one day; ``data`` of every one ``wide`` bytes that do not compress."""
    settings = load({variable("home"): str(home), variable("window_rows"): str(window_rows)})
    ledger = Ledger(settings)
    batch = ledger.take_batch("events", "paths", [], NOON)
    Store(settings).append(TABLE, [table(stored(rows, wide))], {"batch": batch.id})
    ledger.commit_batch(batch.id, Counts(received=rows, accepted=rows), {DAY: rows}, NOON)
    return settings


def stored(rows: int, wide: int = 0) -> list[dict[str, object]]:
    data = (
        json.dumps({"a": os.urandom(wide).hex()}, separators=(",", ":")) if wide else None
        for _ in range(rows)
    )
    return [
        row(number, data=each or CARE[number % len(CARE)], contentId=f"vid,{number}" if number % 3 else None)
        for number, each in enumerate(data)
    ]


def exported(settings: Settings, format: Format, out: Path, executor: Here | None) -> int:
    manifest = write_export(
        ExportRequest(DAY, DAY, ("events",), format),
        out,
        settings=settings,
        store=Store(settings),
        ledger=Ledger(settings),
        now=NOW,
        executor=executor,
    )
    return manifest.row_count


def windows_in(given: object) -> tuple[Window, ...]:
    """The windows that a task of the executor was given to encode."""
    spans_given = [
        each for each in (given if isinstance(given, tuple) else (given,)) if isinstance(each, Span)
    ]
    return tuple(window for span in spans_given for window in span.windows)


def land(settings: Settings, lines: Sequence[str]) -> None:
    folder = settings.landing / "events"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "batch.jsonl").write_text("\n".join(lines) + "\n")


def line(number: int, **changes: object) -> str:
    """Landing line ``number``: most of the common form, some that ingest has to look at more closely."""
    event: dict[str, object] = {
        "event": "share",
        "contentId": "vid_1",
        "userId": f"user_{number:08d}",
        "timestamp": f"{DAY}T12:00:{number % 60:02d}Z",
        "deviceType": "ios",
        "eventId": f"landed_{number}",
        "receivedAt": f"{DAY}T13:00:00Z",
        "data": {"platform": "copyLink"},
    }
    odd: dict[int, dict[str, object]] = {
        1: {"data": {"platform": 7, "more": [1, {"x": None}]}},
        2: {"unknown": "key"},
        3: {"event": "nothing"},
        4: {"timestamp": f"{DAY}T14:00:00+02:00"},
        5: {"timestamp": "yesterday"},
    }
    return json.dumps(event | odd.get(number % 40, {}) | changes)


def assert_alike(steps: Sequence[int]) -> None:
    """As many steps for few rows as for many: the first of ``RUNS`` does what is done once a process, and of
    two one may meet the collector of garbage."""
    _, *counted = steps
    few, many = min(counted[::2]), min(counted[1::2])
    assert (many - few) / (MANY - FEW) < STEPS_A_ROW


@formats
def test_python_does_nothing_for_each_row_of_an_export(tmp_path: Path, format: Format) -> None:
    steps = []
    for number, rows in enumerate(RUNS):
        settings = deployment(tmp_path / f"home-{number}", rows)
        with counted_steps() as work:
            assert exported(settings, format, tmp_path / f"out-{number}", Here()) == rows
        steps.append(work.steps)
    assert_alike(steps)


@formats
def test_each_window_is_read_from_the_store_once_and_read_back_once(tmp_path: Path, format: Format) -> None:
    settings = deployment(tmp_path / "home", FEW, window_rows=70)
    here = Here()
    exported(settings, format, tmp_path / "out", here)
    encoded = [window for _, given, _ in here.done for window in windows_in(given)]
    assert len(encoded) >= FEW // 70
    assert all(before.end <= after.begin for before, after in pairwise(encoded))
    assert sum(window.rows or 0 for window in encoded) == FEW
    read = [span.length for name, span, _ in here.done if name == "read_range"]
    (part,) = (tmp_path / "out" / "events").glob("part-*")
    assert sum(read) == part.stat().st_size


@reading
@formats
def test_a_row_group_is_read_once_wherever_windows_are_cut(tmp_path: Path, format: Format) -> None:
    files = laid_out(tmp_path / "files", stored(4_000, wide=600), "events", files=4, row_group=100)
    size = sum(Path(file).stat().st_size for file in files)
    scan = Scan("events", DAY, files, 10, Filters(), str(tmp_path / "spill"))
    plan = plan_day(scan, 75)
    with counted_reading() as planning:
        plan_day(scan, 75)
    assert planning.bytes < size / 4
    tasks = list(spans(scan, plan.windows, format, "gzip"))
    assert len(tasks) >= 4
    get_ready()
    with counted_reading() as encoding:
        assert sum(window.rows for task in tasks for window in encode(task)) == 4_000
    assert encoding.bytes < 1.2 * size


@formats
@pytest.mark.parametrize("part_bytes", [1 << 30, 6 << 20])
def test_the_system_holds_some_of_each_large_file_in_memory(
    tmp_path: Path, format: Format, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_forget(tmp_path):
        pytest.skip("files of this system are in memory")
    monkeypatch.setattr(writing, "_SETTLED_BYTES", 1 << 20)
    settings = deployment(tmp_path / "home", 8_000, window_rows=400, wide=600)
    exported(settings.model_copy(update={"part_bytes": part_bytes}), format, tmp_path / "out", None)
    parts = sorted((tmp_path / "out" / "events").glob("part-*"))
    assert sum(part.stat().st_size for part in parts) > 5 << 20
    assert len(parts) == 1 or part_bytes < 1 << 30
    for part in parts:
        assert held_bytes(part) < part.stat().st_size / 4 + (2 << 20)


@pytest.mark.parametrize("failing", ["first", "last"])
def test_a_disk_that_fails_before_the_end_of_a_file_fails_the_export(
    tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_SETTLED_BYTES", 1 << 20)
    settings = deployment(tmp_path / "home", 8_000, window_rows=400, wide=600)
    asked = list[int]()

    def settle(path: Path, end: int) -> None:
        asked.append(end)
        if failing == "first" or len(asked) == count:
            raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(files, "settle", settle)
    count = 0
    if failing == "last":
        exported(settings, "jsonl", tmp_path / "intact", Here())
        count = len(asked)
        asked.clear()
        assert count > 1
    with pytest.raises(OSError, match="the disk fails"):
        exported(settings, "jsonl", tmp_path / "out", Here())
    assert not (tmp_path / "out").exists()


def test_python_does_nothing_for_each_line_that_lands(tmp_path: Path) -> None:
    steps = []
    for number, rows in enumerate(RUNS):
        settings = load({variable("home"): str(tmp_path / f"home-{number}")})
        land(settings, [line(n) for n in range(rows)])
        with counted_steps() as work:
            report = ingest_landing(settings, Store(settings), Ledger(settings), now=NOW)
        assert report.counts["events"].received == rows
        assert report.counts["events"].rejected == rows // 20
        steps.append(work.steps)
    assert_alike(steps)


@reading
def test_a_batch_reads_event_ids_of_the_days_it_touches_and_nothing_else(tmp_path: Path) -> None:
    settings = deployment(tmp_path / "home", 4_000, wide=600)
    size = sum(Path(file).stat().st_size for file in Store(settings).files(TABLE))
    days = [DAY, DAY, DAY, DAY - timedelta(days=3), DAY - timedelta(days=4)]
    read = []
    for batch, day in enumerate(days):
        changes = {} if day == DAY else {"timestamp": f"{day}T12:00:00Z"}
        land(settings, [line(1_000 * batch + 40 * n, **changes) for n in range(20)])
        with counted_reading() as work:
            report = ingest_landing(settings, Store(settings), Ledger(settings), now=NOW)
        assert report.counts["events"].accepted == 20
        read.append(work.bytes)
    # The first one loads code; and of two, one may meet another thread of this process that reads.
    same_day, another = min(read[1:3]), min(read[3:])
    assert same_day < size / 4
    assert another < same_day
