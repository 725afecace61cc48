"""The store of one deployment: append a batch in one commit, plan the files of a range of days."""

import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchTableError,
    ValidationException,
)
from pyiceberg.expressions import AlwaysTrue, In
from pyiceberg.io.pyarrow import _dataframe_to_data_files, schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import assign_fresh_schema_ids
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform, DayTransform
from sqlalchemy.exc import OperationalError

from export_pipeline.ahead import ahead
from export_pipeline.databases import CATALOG, address, opening
from export_pipeline.days import midnight
from export_pipeline.errors import TransientError
from export_pipeline.files import flush
from export_pipeline.locks import confirm, lock
from export_pipeline.settings import Settings
from export_pipeline.store.tables import PROPERTIES, USER_BUCKETS, day_column, table_schema

NAMESPACE = "export_pipeline"
COMMIT_ATTEMPTS = 12
BATCH, ERASURE = "batch", "erasure"
"""What a commit can be marked with: the batch it stores, or the erasure it is part of."""
_LOCK = "catalog"
_EPOCH = date(1970, 1, 1)

T = TypeVar("T")


class Store:
    """The Iceberg tables under the state root; cheap to open, safe beside other processes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _catalog(self) -> SqlCatalog:
        self._settings.store.mkdir(parents=True, exist_ok=True)
        with lock(self._settings, _LOCK), opening(self._settings, CATALOG):
            return SqlCatalog(
                NAMESPACE,
                uri=address(self._settings, CATALOG),
                pool_pre_ping="true",
                warehouse=f"file://{self._settings.store}",  # PyIceberg decodes no "%20"
            )

    def table(self, name: str) -> Table:
        """The Iceberg table ``name``, made on first use, as of now."""
        with suppress(NoSuchTableError):
            return self._catalog.load_table((NAMESPACE, name))
        with lock(self._settings, _LOCK):
            self._catalog.create_namespace_if_not_exists(NAMESPACE)
            return self._create(name)

    def _create(self, name: str) -> Table:
        catalog = self._catalog
        arrow = table_schema(name)
        schema = assign_fresh_schema_ids(catalog._convert_schema_if_needed(arrow))
        fields = []
        if column := day_column(name):
            day = schema.find_field(column).field_id
            fields.append(PartitionField(day, 1000, DayTransform(), "day"))
        if "userId" in arrow.names:
            user = schema.find_field("userId").field_id
            fields.append(PartitionField(user, 1001, BucketTransform(USER_BUCKETS), "userId_bucket"))
        return catalog.create_table_if_not_exists(
            (NAMESPACE, name), schema, partition_spec=PartitionSpec(*fields), properties=dict(PROPERTIES)
        )

    def append(self, table: str, chunks: Iterable[pa.Table], properties: Mapping[str, str]) -> None:
        """Add the rows of ``chunks`` in one commit; nothing is visible before it.

        Each chunk becomes one file a day and user bucket, its rows in the order given. Memory holds
        two chunks at a time: the next is made, in a thread, while one is written.

        Args:
            properties: kept in the snapshot; ``batch`` names the batch, see ``committed``.

        Raises:
            TransientError: if other commits won every time.
        """
        loaded = self.table(table)
        arrow = schema_to_pyarrow(loaded.schema(), include_field_ids=False)
        files: list[DataFile] = []
        with ahead(chunks) as made:
            for chunk in made:
                if chunk.num_rows:
                    files += _dataframe_to_data_files(loaded.metadata, chunk.cast(arrow), loaded.io)

        mark = properties.get(BATCH)

        def commit() -> None:
            if mark and self.committed(table, mark):
                return  # by a try before, whose answer was lost
            current = self.table(table)
            with (
                current.transaction() as transaction,
                transaction.update_snapshot(dict(properties)).merge_append() as snapshot,
            ):
                for file in files:
                    snapshot.append_data_file(file)
            flush_commit(current)

        for file in files:
            flush(local_path(file.file_path))
        retrying(commit)

    def committed(self, table: str, batch_id: str, mark: str = BATCH) -> Mapping[str, str] | None:
        """The properties of the snapshot of a batch or erasure, or None if none that is kept is of it."""
        for snapshot in reversed(self.table(table).snapshots()):
            if snapshot.summary and snapshot.summary.additional_properties.get(mark) == batch_id:
                return dict(snapshot.summary.additional_properties)
        return None

    def files(self, table: str, start: date | None = None, end: date | None = None) -> list[str]:
        """The Parquet files of the table as of now that hold rows of the days given, in a fixed order.

        Args:
            start, end: days (UTC), both included; None leaves that side open. Only for event tables.
        """
        bounds = []
        if start is not None:
            bounds.append(f"timestamp >= '{midnight(start).isoformat()}'")
        if end is not None:
            bounds.append(f"timestamp < '{(midnight(end) + timedelta(days=1)).isoformat()}'")
        tasks = self.table(table).scan(row_filter=" and ".join(bounds) or AlwaysTrue()).plan_files()
        return sorted(str(local_path(task.file.file_path)) for task in tasks)

    def files_since(self, table: str, after: int) -> dict[date, tuple[str, ...]]:
        """By day: the Parquet files of the table as of now that can hold rows of batches after ``after``.

        Only for event tables. Files are told apart by what the table's metadata says of ``batchSequence``.
        """
        found: dict[date, list[str]] = {}
        for task in self.table(table).scan(row_filter=f"batchSequence > {after}").plan_files():
            day = _EPOCH + timedelta(days=task.file.partition[0])
            found.setdefault(day, []).append(str(local_path(task.file.file_path)))
        return {day: tuple(sorted(paths)) for day, paths in found.items()}

    def files_of_users(self, table: str, user_ids: Collection[str]) -> list[str]:
        """The Parquet files of the table as of now that can hold rows of these users, in a fixed order."""
        if not user_ids:
            return []
        wanted = In("userId", set(user_ids))  # type: ignore[call-arg, arg-type]
        tasks = self.table(table).scan(row_filter=wanted).plan_files()
        return sorted(str(local_path(task.file.file_path)) for task in tasks)


def local_path(uri: str) -> Path:
    """The path of a table's file."""
    return Path(uri.removeprefix("file://"))


def flush_commit(table: Table) -> None:
    """Force the newest commit of ``table`` to disk."""
    # The ledger is told next, and what it says must survive a power cut.
    snapshot = table.current_snapshot()
    assert snapshot is not None
    written = [table.metadata_location, snapshot.manifest_list] + [
        manifest.manifest_path
        for manifest in snapshot.manifests(table.io)
        if manifest.added_snapshot_id == snapshot.snapshot_id
    ]
    for uri in written:
        flush(local_path(uri))


def retrying(commit: Callable[[], T]) -> T:
    """The result of ``commit``, tried again while other commits win.

    Raises:
        TransientError: if they won every time.
    """
    for attempt in range(COMMIT_ATTEMPTS):
        try:
            confirm()
            return commit()
        except (CommitFailedException, ValidationException, OperationalError) as error:
            if attempt + 1 == COMMIT_ATTEMPTS:
                raise TransientError(
                    f"the store was changed by others {COMMIT_ATTEMPTS} times in a row; try again"
                ) from error
            time.sleep(random.uniform(0.05, 0.1 * 2 ** min(attempt, 5)))
    raise AssertionError("unreachable")
