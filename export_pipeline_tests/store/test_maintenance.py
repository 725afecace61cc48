"""Maintenance makes the store smaller without changing a row, and removes only what nobody needs."""

import os
import threading
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from upath import UPath

from export_pipeline import objects
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.maintenance import compact_day, crowded_days, expire_snapshots, sweep_orphans
from export_pipeline.store.tables import arrow_schema
from export_pipeline_tests.rows import NOON, in_store, row, table

EVENTS = "engagement_events"
DAY = NOON.date()
LATER = datetime(2100, 1, 1, tzinfo=UTC)


def append(store: Store, number: int, user: str = "user_00000001") -> None:
    rows = [
        row(number, userId=user, batchSequence=number),
        row(number + 1000, userId=user, batchSequence=number),
    ]
    store.append(EVENTS, [table(rows)], {"batch": f"b{number}"})


def rows_of(store: Store) -> list[dict[str, object]]:
    return sorted(in_store(store, EVENTS).to_pylist(), key=lambda r: r["eventId"])


def on_disk(settings: Settings) -> set[UPath]:
    return {path for path, _, _ in objects.files_below(settings.store) if path.suffix == ".parquet"}


@pytest.mark.backends("s3")
def test_a_day_of_many_small_files_becomes_one_sorted_file_a_bucket(settings: Settings, store: Store) -> None:
    for number in range(5):
        append(store, number)
    before = rows_of(store)
    assert crowded_days(store, EVENTS, 4) == [DAY]
    done = compact_day(settings, store, EVENTS, DAY)
    assert (done.files_before, done.files_after) == (5, 1)
    assert rows_of(store) == before
    assert len(store.files(EVENTS)) == 1
    instants = in_store(store, EVENTS)["timestamp"].to_pylist()
    assert instants == sorted(instants)
    assert crowded_days(store, EVENTS, 4) == []


def test_a_big_day_is_not_merged_over_and_over(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export_pipeline.store.maintenance.CHUNK_ROWS", 2048)
    for batch in range(20):
        rows = [row(batch * 1000 + n, userId="user_00000001") for n in range(600)]
        store.append(EVENTS, [table(rows)], {"batch": f"b{batch}"})
    assert crowded_days(store, EVENTS, 4) == [DAY]
    assert compact_day(settings, store, EVENTS, DAY).files_after > 4
    assert crowded_days(store, EVENTS, 4) == []


def test_a_user_table_is_merged_as_a_whole(settings: Settings, store: Store) -> None:
    for number in range(3):
        link = {
            "userId": "user_00000001",
            "deviceId": f"device-{number}",
            "linkedAt": NOON,
            "batchSequence": 1,
        }
        store.append(
            "device_links",
            [pa.Table.from_pylist([link], schema=arrow_schema("users/devices"))],
            {"batch": f"b{number}"},
        )
    assert crowded_days(store, "device_links", 2) == [None]
    assert compact_day(settings, store, "device_links", None).files_after == 1
    assert len(store.files("device_links")) == 1
    assert in_store(store, "device_links")["deviceId"].to_pylist() == [
        "device-0",
        "device-1",
        "device-2",
    ]


def test_a_bucket_with_one_file_is_left_alone(settings: Settings, store: Store) -> None:
    append(store, 1)
    files = store.files(EVENTS)
    done = compact_day(settings, store, EVENTS, DAY)
    assert (done.files_before, done.files_after) == (1, 1)
    assert store.files(EVENTS) == files


@pytest.mark.backends("s3")
def test_rows_appended_during_a_compaction_stay(settings: Settings, store: Store) -> None:
    for number in range(4):
        append(store, number)

    def append_more() -> None:
        for number in range(10, 18):
            append(Store(settings), number)

    writer = threading.Thread(target=append_more)
    writer.start()
    while writer.is_alive():
        compact_day(settings, store, EVENTS, DAY)
    writer.join()
    compact_day(settings, store, EVENTS, DAY)
    assert len(store.files(EVENTS)) == 1
    assert sorted({r["batchSequence"] for r in rows_of(store)}) == [*range(4), *range(10, 18)]
    assert len(rows_of(store)) == 24


@pytest.mark.backends("s3")
def test_expired_snapshots_take_their_files_off_the_disk(settings: Settings, store: Store) -> None:
    for number in range(3):
        append(store, number)
    compact_day(settings, store, EVENTS, DAY)
    assert len(on_disk(settings)) == 4
    removed = expire_snapshots(settings, store, EVENTS, LATER, keep=())
    assert set(on_disk(settings)) == set(store.files(EVENTS))
    assert removed.files > 3
    assert removed.bytes > 0
    assert len(rows_of(store)) == 6


@pytest.mark.backends("s3")
def test_files_of_a_recent_snapshot_stay_for_those_who_still_read_them(
    settings: Settings, store: Store
) -> None:
    for number in range(3):
        append(store, number)
    plan = store.files(EVENTS)
    compact_day(settings, store, EVENTS, DAY)
    expire_snapshots(settings, store, EVENTS, datetime.now(UTC) - timedelta(hours=1), keep=())
    assert all(path.exists() for path in plan)


def test_the_snapshot_of_a_batch_that_has_not_ended_is_kept(settings: Settings, store: Store) -> None:
    for number in range(3):
        append(store, number)
    expire_snapshots(settings, store, EVENTS, LATER, keep={"b0"})
    assert store.committed(EVENTS, "b0") is not None
    assert store.committed(EVENTS, "b1") is None


@pytest.mark.backends("s3")
def test_an_orphan_is_removed_once_it_is_old(store: Store, backend: str) -> None:
    append(store, 1)
    orphan = store.files(EVENTS)[0].with_name("orphan.parquet")
    orphan.write_bytes(b"left by a killed commit")
    now = datetime.now(UTC)
    assert sweep_orphans(store, EVENTS, now - timedelta(hours=1)).files == 0
    yesterday = (now - timedelta(days=1)).timestamp()
    if backend == "s3":
        now = LATER
    else:
        os.utime(orphan, (yesterday, yesterday))
    assert sweep_orphans(store, EVENTS, now - timedelta(hours=1)).files == 1
    assert not orphan.exists()
    assert len(rows_of(store)) == 2


def test_sweeping_keeps_all_that_a_table_needs(store: Store) -> None:
    for number in range(3):
        append(store, number)
    assert sweep_orphans(store, EVENTS, LATER).files == 0
    append(store, 9)
    assert len(rows_of(store)) == 8
