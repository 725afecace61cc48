"""Keeping the store small: merging files, dropping old snapshots, and removing what nothing refers to.

Safe beside readers and writers: files go only when no kept snapshot reaches them, and files of commits in
flight are protected by their age. Neither rows nor their ``batchSequence`` change.
"""

import shutil
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import ceil
from pathlib import Path

import duckdb
import pyarrow as pa
from pyiceberg.io.pyarrow import _dataframe_to_data_files, schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from upath import UPath

from export_pipeline import objects
from export_pipeline.days import midnight
from export_pipeline.faults import reach
from export_pipeline.files import scratch_directory
from export_pipeline.settings import Settings
from export_pipeline.sql import literal, parquet, quoted
from export_pipeline.store.store import BATCH, ERASURE, Store, path_of, planned, retrying
from export_pipeline.store.tables import sort_order

LOCK = "maintenance"
"""Held by whoever replaces or removes files of tables: one at a time."""

CHUNK_ROWS = 500_000
SORT_MEMORY = "400MB"
SCRATCH = "compaction"
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Removed:
    """Files deleted from disk, and their bytes."""

    files: int = 0
    bytes: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        """Both together."""
        return Removed(self.files + other.files, self.bytes + other.bytes)


@dataclass(frozen=True)
class Compaction:
    """Files of one day before and after they were merged; ``day`` is None for a user table."""

    day: date | None
    files_before: int
    files_after: int


def crowded_days(store: Store, table: str, files_per_bucket: int) -> list[date | None]:
    """The days of which some user bucket has more than ``files_per_bucket`` files, oldest first.

    Files that merging would not make fewer, by half at least, crowd nothing: a big day is not merged over
    and over. A user table has no days; None stands for all of it.
    """
    files, rows = Counter[tuple[int, ...]](), Counter[tuple[int, ...]]()
    for file in _live_files(store.table(table)):
        files[_partition(file)] += 1
        rows[_partition(file)] += file.record_count
    crowded = {
        partition[:-1]
        for partition, count in files.items()
        if count > max(files_per_bucket, 2 * ceil(rows[partition] / CHUNK_ROWS))
    }
    return [_EPOCH + timedelta(days=day[0]) if day else None for day in sorted(crowded)]


def _partition(file: DataFile) -> tuple[int, ...]:
    return tuple(file.partition[i] for i in range(len(file.partition)))


def compact_day(settings: Settings, store: Store, table: str, day: date | None) -> Compaction:
    """Merge the files of each user bucket of a day (None: of a user table) into one sorted run.

    Rows appended meanwhile stay in files of their own. Memory is bounded; sorting spills to ``tmp``.

    Raises:
        TransientError: if the files were replaced by others every time.
    """

    def attempt() -> Compaction:
        loaded = store.table(table)
        buckets: dict[int, list[DataFile]] = defaultdict(list)
        for file in _live_files(loaded, day):
            buckets[file.partition[-1]].append(file)
        old = [file for files in buckets.values() if len(files) > 1 for file in files]
        kept = sum(len(files) for files in buckets.values()) - len(old)
        if not old:
            return Compaction(day, kept, kept)
        new: list[DataFile] = []
        with scratch_directory(settings.tmp, SCRATCH) as scratch:
            for files in buckets.values():
                if len(files) > 1:
                    for chunk in _sorted_chunks(loaded, files, scratch):
                        new += _dataframe_to_data_files(loaded.metadata, chunk, loaded.io)
        for file in new:
            objects.flush(path_of(loaded, file.file_path))
        reach(settings, "maintenance.merged")
        with loaded.transaction() as transaction, transaction.update_snapshot().overwrite() as snapshot:
            for file in old:
                snapshot.delete_data_file(file)
            for file in new:
                snapshot.append_data_file(file)
        reach(settings, "maintenance.compacted")
        return Compaction(day, kept + len(old), kept + len(new))

    return retrying(attempt)


def _sorted_chunks(table: Table, files: list[DataFile], scratch: Path) -> Iterator[pa.Table]:
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    with duckdb.connect(
        config={"memory_limit": SORT_MEMORY, "temp_directory": str(scratch), "threads": 1}
    ) as connection:
        paths = [path_of(table, file.file_path) for file in files]
        objects.for_duckdb(connection, paths[0])
        source = parquet(paths)
        order = ", ".join(map(quoted, sort_order(table.name()[-1])))
        rows = connection.sql(f"select * from {source} order by {order}")
        pending: list[pa.RecordBatch] = []
        for batch in rows.to_arrow_reader(min(CHUNK_ROWS, 32_768)):
            pending.append(batch)
            if sum(b.num_rows for b in pending) >= CHUNK_ROWS:
                yield pa.Table.from_batches(pending).cast(schema)
                pending = []
        if pending:
            yield pa.Table.from_batches(pending).cast(schema)


def _live_files(table: Table, day: date | None = None) -> list[DataFile]:
    if day is None:
        return planned(table.scan())
    first, after = midnight(day).isoformat(), (midnight(day) + timedelta(days=1)).isoformat()
    condition = f"timestamp >= {literal(first)} and timestamp < {literal(after)}"
    return planned(table.scan(row_filter=condition))


def expire_snapshots(
    settings: Settings, store: Store, table: str, before: datetime, keep: Collection[str]
) -> Removed:
    """Forget snapshots made before ``before`` and delete the files that only they reach.

    Args:
        before: an instant far enough in the past that no reader still reads a plan made earlier.
        keep: batches and erasures whose snapshots stay, as their end is not in the ledger yet.
    """
    loaded = store.table(table)
    current = loaded.current_snapshot()
    old = [
        snapshot.snapshot_id
        for snapshot in loaded.snapshots()
        if snapshot.timestamp_ms < before.timestamp() * 1000
        and snapshot != current
        and (
            snapshot.summary is None
            or not {snapshot.summary.additional_properties.get(mark) for mark in (BATCH, ERASURE)} & {*keep}
        )
    ]
    if not old:
        return Removed()
    reached = _reachable(loaded, set(old))
    retrying(lambda: store.table(table).maintenance.expire_snapshots().by_ids(old).commit())
    reach(settings, "maintenance.expired")
    return _delete(loaded, reached - _reachable(store.table(table)))


def sweep_scratch(settings: Settings) -> None:
    """Remove what a compaction that died left in ``tmp``: it holds rows. Only while no other one runs."""
    for left in settings.tmp.glob(f"{SCRATCH}-*"):
        shutil.rmtree(left)


def orphans(store: Store, table: str, before: datetime) -> dict[UPath, int]:
    """The files of a table last written before ``before`` that no snapshot reaches, and their bytes.

    They are left by commits that failed or were killed. ``before`` protects commits in flight.
    """
    old = {
        path: size
        for path, size, written in objects.files_below(_folder(store.table(table)))
        if written < before.timestamp()
    }
    # What is reachable is read after the listing: a file committed in between is then known.
    reached = _reachable(store.table(table))
    return {path: size for path, size in old.items() if path not in reached}


def sweep_orphans(store: Store, table: str, before: datetime) -> Removed:
    """Delete the ``orphans`` of a table."""
    return _delete(store.table(table), orphans(store, table, before).keys())


def delete_unreachable(store: Store, table: str) -> Removed:
    """Delete every file of a table that no snapshot reaches, whatever its age; only while nobody commits."""
    loaded = store.table(table)
    present = {path for path, _, _ in objects.files_below(_folder(loaded))}
    return _delete(loaded, present - _reachable(loaded))


def _reachable(table: Table, snapshot_ids: Collection[int] | None = None) -> set[UPath]:
    metadata = table.metadata
    paths = {table.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    manifests = {}
    for snapshot in table.snapshots():
        if snapshot_ids is None or snapshot.snapshot_id in snapshot_ids:
            paths.add(snapshot.manifest_list)
            manifests.update({manifest.manifest_path: manifest for manifest in snapshot.manifests(table.io)})
    for path, manifest in manifests.items():
        paths.add(path)
        entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        paths.update(entry.data_file.file_path for entry in entries)
    return {path_of(table, path) for path in paths}


def _folder(table: Table) -> UPath:
    return path_of(table, table.location())


def _delete(table: Table, paths: Collection[UPath]) -> Removed:
    sizes = objects.remove_files(paths, _folder(table))
    return Removed(len(sizes), sum(sizes.values()))
