"""The store adds a batch whole or not at all and finds the files of a day."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export_pipeline.errors import InvalidSetting
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store
from export_pipeline.store.tables import ROW_GROUP_ROWS, TABLE_OF, arrow_schema
from export_pipeline_tests.rows import NOON, in_store, row, table

EVENTS = "engagement_events"
DAY = NOON.date()


def read(store: Store, start: date | None = None, end: date | None = None) -> pa.Table:
    return in_store(store, EVENTS, start, end)


@pytest.mark.backends("s3")
def test_appended_rows_come_back_as_they_went_in(store: Store) -> None:
    rows = [row(number) for number in range(20)]
    store.append(EVENTS, [table(rows)], {"batch": "b1"})
    assert sorted(read(store).to_pylist(), key=lambda r: r["eventId"]) == rows


@pytest.mark.parametrize("target", TABLE_OF)
def test_every_target_has_a_table_with_the_columns_of_the_catalogue(store: Store, target: str) -> None:
    columns = store.table(TABLE_OF[target]).schema().as_arrow()
    assert columns.names == arrow_schema(target).names


def test_a_batch_is_one_commit_however_many_chunks_it_has(store: Store) -> None:
    store.append(EVENTS, (table([row(n)]) for n in range(3)), {"batch": "b1", "counts": "[3]"})
    assert len(store.table(EVENTS).snapshots()) == 1
    assert read(store).num_rows == 3


@pytest.mark.backends("s3")
def test_a_committed_batch_is_recognised_with_what_was_noted_of_it(store: Store) -> None:
    store.append(EVENTS, [table([row(1)])], {"batch": "b1", "counts": "[1]"})
    store.append(EVENTS, [table([row(2)])], {"batch": "b2"})
    noted = store.committed(EVENTS, "b1")
    assert noted is not None
    assert noted["counts"] == "[1]"
    assert store.committed(EVENTS, "b3") is None


@pytest.mark.backends("s3")
def test_nothing_is_visible_of_a_batch_whose_rows_fail_to_arrive(store: Store) -> None:
    def chunks() -> Iterator[pa.Table]:
        yield table([row(1)])
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        store.append(EVENTS, chunks(), {"batch": "b1"})
    assert store.files(EVENTS) == []
    assert store.committed(EVENTS, "b1") is None


@pytest.mark.backends("s3")
def test_the_files_of_a_day_hold_its_rows_and_no_other_day(store: Store) -> None:
    rows = [row(n, timestamp=NOON + timedelta(days=n), eventId=f"e{n}") for n in range(4)]
    store.append(EVENTS, [table(rows)], {"batch": "b1"})
    found = read(store, DAY + timedelta(days=1), DAY + timedelta(days=2))
    assert sorted(found["eventId"].to_pylist()) == ["e1", "e2"]


def test_a_day_reaches_from_its_first_to_its_last_millisecond(store: Store) -> None:
    midnight = NOON.replace(hour=0)
    instants = [midnight - timedelta(milliseconds=1), midnight, midnight + timedelta(days=1, milliseconds=-1)]
    store.append(EVENTS, [table([row(n, timestamp=t) for n, t in enumerate(instants)])], {"batch": "b1"})
    assert sorted(read(store, DAY, DAY)["timestamp"].to_pylist()) == instants[1:]


@pytest.mark.backends("s3", "postgres")
def test_batches_appended_at_the_same_time_are_all_there(settings: Settings) -> None:
    def append(number: int) -> None:
        Store(settings).append(EVENTS, [table([row(number)])], {"batch": f"b{number}"})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append, range(8)))
    assert sorted(read(Store(settings))["eventId"].to_pylist()) == [f"evt_{n:08d}" for n in range(8)]


def test_no_user_id_is_in_the_tables_metadata(settings: Settings, store: Store) -> None:
    store.append(EVENTS, [table([row(1, userId="user_00424242")])], {"batch": "b1"})
    loaded = store.table(EVENTS)
    snapshot = loaded.current_snapshot()
    assert snapshot is not None
    entries = [
        entry.data_file
        for manifest in snapshot.manifests(loaded.io)
        for entry in manifest.fetch_manifest_entry(loaded.io)
    ]
    assert [file.record_count for file in entries] == [1]
    assert b"user_00424242" not in repr([list(file._data) for file in entries]).encode()
    for path in settings.store.rglob("*.json"):
        assert b"user_00424242" not in path.read_bytes()


def test_files_are_sorted_by_time_in_row_groups_that_windows_can_skip(store: Store) -> None:
    rows = pa.concat_tables([table([row(1)])] * 1)
    many = pa.table(
        {
            name: pa.array([rows[name][0].as_py()] * 70_000, rows.schema.field(name).type)
            for name in rows.column_names
        },
        schema=rows.schema,
    )
    store.append(EVENTS, [many], {"batch": "b1"})
    [path] = store.files(EVENTS)
    groups = pq.ParquetFile(Path(path)).metadata
    found = [groups.row_group(i).num_rows for i in range(groups.num_row_groups)]
    assert found == [*[ROW_GROUP_ROWS] * (70_000 // ROW_GROUP_ROWS), 70_000 % ROW_GROUP_ROWS]


def test_files_of_tables_stay_under_a_root_with_any_name(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "a b%20ü[1]'")
    store = Store(settings)
    store.append(EVENTS, [table([row(1)])], {"batch": "b1"})
    assert read(store).num_rows == 1
    assert all(Path(path).is_relative_to(settings.store) for path in store.files(EVENTS))
    assert list(tmp_path.iterdir()) == [settings.root]


def test_tables_that_lie_elsewhere_are_told_by_the_setting(environment: dict[str, str], store: Store) -> None:
    store.append(EVENTS, [table([row(1)])], {"batch": "b1"})
    moved = load(environment | {"EXPORT_PIPELINE_OBJECT_STORE": "s3://bucket/prefix"})
    with pytest.raises(InvalidSetting, match="EXPORT_PIPELINE_OBJECT_STORE is 's3://bucket/prefix'"):
        Store(moved).files(EVENTS)
