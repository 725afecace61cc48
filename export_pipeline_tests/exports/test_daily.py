"""Daily partitions: versions rise when, and only when, rows change; what stands is left alone."""

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from export_pipeline import buckets, composing
from export_pipeline.errors import DamagedData, InvalidRequest, OutsideRetention
from export_pipeline.exports import DailyExport, Replaces, live_daily, preview, verify
from export_pipeline.exports.live import LiveDays
from export_pipeline.exports.publishing import making, sweep_unpublished
from export_pipeline.exports.verification import export_problems
from export_pipeline.ledger import Ledger
from export_pipeline.locks import lock
from export_pipeline.objects import is_remote, relative, write
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.maintenance import compact_day
from export_pipeline.store.tables import TABLE_OF
from export_pipeline_tests import processes
from export_pipeline_tests.exports.conftest import NOW, Land
from export_pipeline_tests.exports.encoded import DAY, at
from export_pipeline_tests.rows import NOON, row, table

Daily = Callable[..., DailyExport]


def bytes_of(export: DailyExport) -> dict[str, bytes]:
    return {file.name: (export.path / file.name).read_bytes() for file in export.manifest.files}


@pytest.mark.backends("s3")
@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_a_day_is_published_under_its_name_with_all_rows(
    land: Land, daily: Daily, settings: Settings, format: str
) -> None:
    land([row(n) for n in range(30)])
    export = daily(format=format)
    assert export.path == settings.exports / f"daily/events/{format}/2026-11-20/v1"
    assert (export.rows, export.created, export.data_version) == (30, True, 1)
    assert export_problems(export.path) == []


@pytest.mark.backends("s3")
def test_a_look_at_many_days_finds_the_newest_version_of_each(
    land: Land, daily: Daily, settings: Settings
) -> None:
    land([row(1)])
    daily()
    land([row(2)])
    newest = daily()
    look = LiveDays(settings)
    found = look("events", "jsonl", DAY)
    assert found
    assert (found.path, found.manifest) == (newest.path, newest.manifest)
    assert look("events", "jsonl", DAY + timedelta(days=1)) is None
    write(newest.path / "manifest.json", b"{")
    with pytest.raises(DamagedData, match=r"v2/manifest\.json"):
        LiveDays(settings)("events", "jsonl", DAY)


def test_the_manifest_is_as_the_contract_says(land: Land, daily: Daily) -> None:
    land([row(n) for n in range(3)])
    export = daily()
    (file,) = export.manifest.files
    assert json.loads((export.path / "manifest.json").read_bytes()) == {
        "manifestVersion": 1,
        "exportId": "exp_events_jsonl_20261120_v1",
        "kind": "daily",
        "dateRange": {"start": "2026-11-20", "end": "2026-11-20"},
        "dataTypes": ["events"],
        "format": "jsonl",
        "compression": "gzip",
        "schemaVersion": 1,
        "filters": {"contentIds": [], "eventTypes": [], "userCount": 0},
        "version": 1,
        "replaces": None,
        "complete": True,
        "days": [{"date": "2026-11-20", "dataType": "events", "dataVersion": 1, "rows": 3}],
        "rowCount": 3,
        "cursor": export.manifest.cursor,
        "mode": "full",
        "since": [],
        "files": [
            {
                "name": "events/part-00000.jsonl.gz",
                "dataType": "events",
                "rows": 3,
                "bytes": export.bytes,
                "sha256": file.sha256,
                "firstTimestamp": "2026-11-20T12:00:00Z",
                "lastTimestamp": "2026-11-20T12:00:02Z",
            }
        ],
        "createdAt": "2026-11-21T12:00:00Z",
    }


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_a_day_without_rows_is_one_part_without_rows(daily: Daily, format: str) -> None:
    export = daily(format=format)
    assert (export.rows, len(export.manifest.files), export.manifest.complete) == (0, 1, True)
    assert export_problems(export.path) == []


def test_only_the_rows_of_the_day_are_in_it(land: Land, daily: Daily) -> None:
    midnight = at(0) + timedelta(days=1)
    around = [at(0) - timedelta(milliseconds=1), at(0), midnight - timedelta(milliseconds=1), midnight]
    land([row(n, timestamp=instant) for n, instant in enumerate(around)])
    (file,) = daily().manifest.files
    assert (file.rows, file.first_timestamp, file.last_timestamp) == (
        2,
        "2026-11-20T00:00:00Z",
        "2026-11-20T23:59:59.999Z",
    )


def test_exporting_again_finds_that_the_version_stands(land: Land, daily: Daily) -> None:
    land([row(1)])
    first = daily()
    inode = first.path.stat().st_ino
    again = daily(now=NOW + timedelta(hours=1))
    assert (again.created, again.path, again.manifest) == (False, first.path, first.manifest)
    assert again.path.stat().st_ino == inode


@pytest.mark.backends("s3")
def test_a_damaged_version_is_made_again_with_the_same_bytes(land: Land, daily: Daily) -> None:
    land([row(n) for n in range(10)])
    export = daily()
    before = bytes_of(export)
    part = export.path / export.manifest.files[0].name
    part.write_bytes(part.read_bytes()[:-9])
    again = daily()
    assert (again.created, again.path, bytes_of(again)) == (True, export.path, before)


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_rows_that_come_late_make_the_next_version_which_says_what_it_replaces(
    land: Land, daily: Daily, format: str
) -> None:
    land([row(n) for n in range(10)])
    first = daily(format=format)
    land([row(n) for n in range(20, 23)])
    second = daily(format=format)
    assert (second.path.name, second.rows, second.data_version) == ("v2", 13, 2)
    assert second.manifest.replaces == Replaces(first.manifest.export_id, 1, 3, 0)
    assert export_problems(first.path) == []


def test_late_rows_are_counted_without_reading_the_files_of_the_version_before(
    land: Land, daily: Daily
) -> None:
    land([row(n) for n in range(10)])
    first = daily()
    (first.path / first.manifest.files[0].name).unlink()
    land([row(n) for n in range(20, 23)])
    assert daily().manifest.replaces == Replaces(first.manifest.export_id, 1, 3, 0)


@pytest.mark.backends("s3")
def test_rows_are_compared_where_the_store_does_not_hold_all_of_the_version_before(
    land: Land, daily: Daily
) -> None:
    land([row(n) for n in range(10)])
    first = daily()
    manifest = json.loads((first.path / "manifest.json").read_bytes())
    manifest["days"][0]["rows"] = manifest["rowCount"] = manifest["files"][0]["rows"] = 12
    (first.path / "manifest.json").write_text(json.dumps(manifest))
    land([row(n) for n in range(20, 23)])
    assert daily().manifest.replaces == Replaces(first.manifest.export_id, 1, 3, 0)


def test_the_highest_version_is_the_live_one(land: Land, daily: Daily, settings: Settings) -> None:
    assert live_daily(settings, "events", "jsonl", DAY) is None
    for batch in range(10):
        land([row(batch)])
        daily()
    live = live_daily(settings, "events", "jsonl", DAY)
    assert live is not None
    assert (live.path.name, live.rows) == ("v10", 10)


def test_rows_of_a_batch_that_has_not_ended_are_not_in_it(
    land: Land, daily: Daily, store: Store, ledger: Ledger
) -> None:
    land([row(1)])
    batch = ledger.take_batch("events", "landing", ["b.jsonl"], NOON)
    store.append(TABLE_OF["events"], [table([row(2, batchSequence=batch.sequence)])], {"batch": batch.id})
    assert daily().rows == 1


def test_compaction_changes_no_byte(land: Land, daily: Daily, store: Store, settings: Settings) -> None:
    for batch in range(6):
        land([row(n) for n in range(batch, 300, 6)])
    export = daily()
    before = bytes_of(export)
    part = export.path / export.manifest.files[0].name
    many = len(store.files(TABLE_OF["events"]))
    compact_day(settings, store, TABLE_OF["events"], DAY)
    assert len(store.files(TABLE_OF["events"])) < many
    part.unlink()
    assert bytes_of(daily()) == before


@pytest.mark.backends("s3")
def test_an_open_day_is_marked_and_completed_once_it_has_closed(land: Land, daily: Daily) -> None:
    land([row(1)])
    midnight = at(0) + timedelta(days=1)
    early = daily(now=midnight + timedelta(hours=1))
    waiting = daily(now=midnight + timedelta(hours=3), waiting=lambda _: {DAY})
    unknown = daily(now=midnight + timedelta(hours=3), waiting=lambda _: None)
    closed = daily(now=midnight + timedelta(hours=3), waiting=lambda _: {DAY + timedelta(days=1)})
    exports = (early, waiting, unknown, closed)
    assert [export.manifest.complete for export in exports] == [False, False, False, True]
    assert closed.path == early.path
    assert export_problems(closed.path) == []


def test_a_day_is_not_complete_without_what_was_taken_in_while_it_was_exported(
    land: Land, daily: Daily
) -> None:
    land([row(1)])
    late: list[int] = []

    def taken_in(_: str) -> tuple[()]:
        if not late:
            late.append(land([row(2)]))
        return ()

    first = daily(waiting=taken_in)
    assert (first.rows, first.manifest.complete) == (1, False)
    second = daily(waiting=taken_in)
    assert (second.rows, second.manifest.version, second.manifest.complete) == (2, 2, True)


@pytest.mark.backends("s3")
def test_exports_of_the_same_day_side_by_side_make_one_version(
    land: Land, daily: Daily, settings: Settings
) -> None:
    land([row(n) for n in range(10)])
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: daily(), range(4)))
    assert [export.created for export in made].count(True) == 1
    assert verify(settings.exports).exports == 1


@pytest.mark.backends("s3")
def test_large_days_are_split_into_parts(land: Land, daily: Daily, settings: Settings) -> None:
    land([row(n) for n in range(100)])
    small = settings.model_copy(update={"part_bytes": 5_000, "window_rows": 10})
    export = daily(settings=small)
    names = [file.name for file in export.manifest.files]
    assert names == [f"events/part-{n:05d}.jsonl.gz" for n in range(len(names))]
    assert len(names) > 3
    assert export_problems(export.path) == []


def test_a_csv_part_has_a_header_each(land: Land, daily: Daily, settings: Settings) -> None:
    land([row(n) for n in range(100)])
    small = settings.model_copy(update={"part_bytes": 2_000, "window_rows": 10})
    export = daily(format="csv", settings=small)
    assert len(export.manifest.files) > 3
    assert export_problems(export.path) == []


def test_a_day_outside_retention_is_refused(daily: Daily) -> None:
    with pytest.raises(OutsideRetention, match="startDate is 2026-08-22"):
        daily(day=NOW.date() - timedelta(days=91))


def test_a_day_in_the_future_is_refused(daily: Daily) -> None:
    with pytest.raises(InvalidRequest, match="must not be after today"):
        daily(day=NOW.date() + timedelta(days=1))


@pytest.mark.parametrize(("data_type", "format"), [("clicks", "jsonl"), ("events", "xml")])
def test_a_partition_that_does_not_exist_is_refused(daily: Daily, data_type: str, format: str) -> None:
    with pytest.raises(InvalidRequest, match="it must be one of"):
        daily(data_type, format)


def test_a_preview_is_there_whatever_numbers_events_carry(land: Land, daily: Daily) -> None:
    land([row(0, data='{"value": 123456789012345678901234567890}')])
    export = daily()
    assert list(preview(export.path, export.manifest)["event"]) == [row(0)["event"]]


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_a_preview_shows_no_id_and_no_free_text(land: Land, daily: Daily, format: str) -> None:
    land([row(n, data='{"note":"secret"}') for n in range(30)])
    export = daily(format=format)
    frame = preview(export.path, export.manifest)
    assert len(frame) == 10
    assert list(frame.iloc[1]) == [
        "impression", "2026-11-20T12:00:01Z", "ios", "DE", "2026-11-20T12:00:01Z", "events",
    ]  # fmt: skip
    empty = daily(format=format, day=DAY + timedelta(days=1))
    assert list(preview(empty.path, empty.manifest)) == list(frame)


@pytest.mark.backends("s3")
def test_what_a_dead_process_left_of_an_export_is_removed_and_what_appeared_stays(
    land: Land, daily: Daily, settings: Settings
) -> None:
    land([row(1)])
    live = daily()
    partition = live.path.parent
    left = [
        partition / "v2" / "events" / "part-00000.jsonl.gz",
        settings.exports / "on_demand" / "exp_1" / "x",
    ]
    if is_remote(settings.exports):
        begun = composing.begin(settings.exports / ".making" / "dead" / "1" / "0")
    else:  # a directory appears there as a whole
        left = [settings.exports / ".making" / "dead" / "0", settings.exports / ".making" / "alive" / "0"]
    for path in left:
        write(path, b"12345")
    with lock(settings, "making-" + relative(left[1].parent, settings.exports).replace("/", "-")):
        assert sweep_unpublished(settings) == (1, 5)
    assert sweep_unpublished(settings) == (1, 5)
    if is_remote(settings.exports):
        with pytest.raises(FileNotFoundError):
            composing.compose(begun, [b"12345"])
    assert daily().path == live.path
    assert export_problems(live.path) == []


def be_killed_while_uploading(settings: Settings, made_in: Path) -> None:
    with making(settings, made_in, settings.exports / "on_demand" / "exp_1") as place:
        write(place.folder / "events" / "schema.json", b"{}")
        composing.begin(place.folder / "events" / "part-00000.jsonl.gz")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.system
@pytest.mark.parametrize("backend", ["s3"], indirect=True)
def test_an_export_killed_during_an_upload_is_gone_when_another_begins(
    land: Land, daily: Daily, settings: Settings, tmp_path: Path
) -> None:
    land([row(1)])
    processes.die(be_killed_while_uploading, settings, tmp_path)
    assert buckets.names(settings.exports) == ["on_demand"]
    assert len(list(buckets.unfinished(settings.exports))) == 1
    daily()
    assert buckets.names(settings.exports) == ["daily"]
    assert list(buckets.unfinished(settings.exports)) == []
