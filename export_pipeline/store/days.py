"""Whole days of a table: replaced or dropped in one commit, and what was dropped removed from disk at once.

Files are grouped by the day they are partitioned by; no row is read.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import _dataframe_to_data_files, schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from upath import UPath

from export_pipeline import objects
from export_pipeline.faults import reach
from export_pipeline.settings import Settings
from export_pipeline.store.editing import Mentions
from export_pipeline.store.maintenance import expire_snapshots
from export_pipeline.store.store import Store, path_of, planned, retrying

AGGREGATES = "metrics"
"""The lock held by whoever computes aggregates, or takes something out of them."""

_EPOCH = date(1970, 1, 1)
_ALL_OLDER = datetime(9999, 1, 1, tzinfo=UTC)
_FOLDER = re.compile(r"day=(\d{4}-\d\d-\d\d)", re.ASCII)


@dataclass(frozen=True)
class Dropped:
    """What goes with days of a table: rows that were visible, files on disk and their bytes."""

    rows: int = 0
    files: int = 0
    bytes: int = 0


def replace_day(store: Store, table: str, day: date, rows: pa.Table, properties: Mapping[str, str]) -> None:
    """Put ``rows``, all of ``day``, in the place of what the table has of the day, in one commit.

    Raises:
        TransientError: if other commits won every time.
    """
    loaded = store.table(table)
    arrow = schema_to_pyarrow(loaded.schema(), include_field_ids=False)
    files: list[DataFile] = []
    if rows.num_rows:
        files += _dataframe_to_data_files(loaded.metadata, rows.cast(arrow), loaded.io)
    for file in files:
        objects.flush(path_of(loaded, file.file_path))

    def commit() -> None:
        current = store.table(table)
        old = [file for file in planned(current.scan()) if _day(file) == day]
        if not old and not files:
            return
        with (
            current.transaction() as transaction,
            transaction.update_snapshot(dict(properties)).overwrite() as snapshot,
        ):
            for file in old:
                snapshot.delete_data_file(file)
            for file in files:
                snapshot.append_data_file(file)

    retrying(commit)


def erase_mentions(store: Store, table: str, mentions: Mentions) -> int:
    """Replace ids of people in the texts of a table that holds no rows of people, in one commit; how many.

    Files that held them are on disk until ``forget_replaced``. Memory holds a file at a time.
    """
    loaded = store.table(table)
    arrow = schema_to_pyarrow(loaded.schema(), include_field_ids=False)
    old: list[DataFile] = []
    new: list[DataFile] = []
    replaced = 0
    for file in planned(loaded.scan()):
        rows, found = pq.read_table(objects.for_arrow(path_of(loaded, file.file_path)), partitioning=None), 0
        for place, name in enumerate(rows.column_names):
            if pa.types.is_large_string(arrow.field(name).type):
                values, count = mentions.replace(rows[name].cast(pa.large_string()))
                rows, found = rows.set_column(place, name, values), found + count
        if found:
            replaced += found
            old.append(file)
            new += _dataframe_to_data_files(loaded.metadata, rows.cast(arrow), loaded.io)
    for file in new:
        objects.flush(path_of(loaded, file.file_path))

    def commit() -> None:
        current = store.table(table)
        with current.transaction() as transaction, transaction.update_snapshot().overwrite() as snapshot:
            for file in old:
                snapshot.delete_data_file(file)
            for file in new:
                snapshot.append_data_file(file)

    if replaced:
        retrying(commit)
    return replaced


def held_before(store: Store, table: str, before: date) -> Dropped:
    """What a table holds of days before ``before``, in its rows and, replaced or not, on disk."""
    loaded = store.table(table)
    rows = sum(file.record_count for file in planned(loaded.scan()) if _day(file) < before)
    sizes = _files_before(loaded, before)
    return Dropped(rows, len(sizes), sum(sizes.values()))


def drop_days(settings: Settings, store: Store, table: str, before: date, keep: Collection[str]) -> Dropped:
    """Drop every day before ``before`` in one commit, forget all older snapshots, and delete the files.

    Only while nothing else writes to the table. Who reads these files loses them, and plans again. Killed
    anywhere, the next call completes it.

    Args:
        keep: batches and erasures whose snapshots stay, see ``expire_snapshots``; their files stay as well.

    Returns:
        The rows that were visible before, and what was deleted from disk.
    """
    rows = 0

    def commit() -> None:
        nonlocal rows
        current = store.table(table)
        old = [file for file in planned(current.scan()) if _day(file) < before]
        rows = sum(file.record_count for file in old)
        if old:
            with current.transaction() as transaction, transaction.update_snapshot().overwrite() as snapshot:
                for file in old:
                    snapshot.delete_data_file(file)

    retrying(commit)
    reach(settings, "retention.dropped")
    sizes = _files_before(store.table(table), before)
    if not sizes:
        return Dropped(rows)
    expire_snapshots(settings, store, table, _ALL_OLDER, keep)
    kept = _still_read(store.table(table)) if keep else set()
    root = path_of(store.table(table), store.table(table).location())
    objects.remove_files(sizes.keys() - kept, root)
    reach(settings, "retention.deleted")
    gone = [size for path, size in sizes.items() if path not in kept]
    if not objects.is_remote(root):
        for folder in {path.parent for path in sizes}:
            _remove_empty(folder, root)
    return Dropped(rows, len(gone), sum(gone))


def _files_before(table: Table, before: date) -> dict[UPath, int]:
    """The data files of days before ``before``, whether a snapshot reaches them or not, and their bytes."""
    data = path_of(table, table.location()) / "data"
    found = {}
    for path, size, _ in objects.files_below(data):
        name = _FOLDER.fullmatch(path.relative_to(data).parts[0])
        if name and date.fromisoformat(name[1]) < before:
            found[path] = size
    return found


def _still_read(table: Table) -> set[UPath]:
    paths: set[UPath] = set()
    for snapshot in table.snapshots():
        for manifest in snapshot.manifests(table.io):
            entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
            paths.update(path_of(table, entry.data_file.file_path) for entry in entries)
    return paths


def _remove_empty(folder: UPath, root: UPath) -> None:
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _day(file: DataFile) -> date:
    return _EPOCH + timedelta(days=file.partition[0])
