"""The store of one deployment: append a batch in one commit, plan the files of a range of days."""

import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import date, timedelta
from functools import cached_property
from typing import TypeVar

import pyarrow as pa
from pyarrow.fs import FileSystem
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchTableError,
    ValidationException,
)
from pyiceberg.expressions import AlwaysTrue, BooleanExpression, In
from pyiceberg.io import PY_IO_IMPL, S3_ENDPOINT, S3_REGION
from pyiceberg.io.pyarrow import PyArrowFileIO, _dataframe_to_data_files, schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import assign_fresh_schema_ids
from pyiceberg.table import DataScan, Table
from pyiceberg.transforms import BucketTransform, DayTransform
from sqlalchemy.exc import OperationalError
from upath import UPath

from export_pipeline import objects
from export_pipeline.ahead import ahead
from export_pipeline.databases import CATALOG, address, opening
from export_pipeline.days import midnight
from export_pipeline.errors import InvalidSetting, StorageFull, TransientError
from export_pipeline.failures import meaning
from export_pipeline.locks import confirm, lock
from export_pipeline.outages import FIELD, answering
from export_pipeline.settings import Settings
from export_pipeline.store.tables import METRICS_TABLE, PROPERTIES, USER_BUCKETS, day_column, table_schema

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
        where = self._settings.store
        if not objects.is_remote(where):
            where.mkdir(parents=True, exist_ok=True)
        with lock(self._settings, _LOCK), opening(self._settings, CATALOG):
            return SqlCatalog(
                NAMESPACE,
                uri=address(self._settings, CATALOG),
                pool_pre_ping="true",
                # PyIceberg decodes no "%20".
                warehouse=str(where) if objects.is_remote(where) else f"file://{where}",
                **{
                    PY_IO_IMPL: f"{StoreFiles.__module__}.{StoreFiles.__name__}",
                    S3_ENDPOINT: self._settings.s3_endpoint,
                    S3_REGION: self._settings.s3_region,
                },
            )

    def table(self, name: str) -> Table:
        """The Iceberg table ``name``, made on first use, as of now."""
        with answering(), suppress(NoSuchTableError):
            found = self._catalog.load_table((NAMESPACE, name))
            self._check_place(found)
            return found
        with lock(self._settings, _LOCK):
            self._catalog.create_namespace_if_not_exists(NAMESPACE)
            return self._create(name)

    def _check_place(self, table: Table) -> None:
        lies, place = table.location(), self._settings.store
        if objects.is_remote(place) != lies.startswith("s3://") or (
            objects.is_remote(place) and not lies.startswith(f"{place}/")
        ):
            raise InvalidSetting(
                f"{FIELD} is {self._settings.object_store!r}; it must be what it was when the tables were "
                f"made, which lie in {lies.removeprefix('file://')}",
                field=FIELD,
            )

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
            objects.flush(path_of(loaded, file.file_path))
        retrying(commit)

    def committed(self, table: str, batch_id: str, mark: str = BATCH) -> Mapping[str, str] | None:
        """The properties of the snapshot of a batch or erasure, or None if none that is kept is of it."""
        for snapshot in reversed(self.table(table).snapshots()):
            if snapshot.summary and snapshot.summary.additional_properties.get(mark) == batch_id:
                return dict(snapshot.summary.additional_properties)
        return None

    def files(self, table: str, start: date | None = None, end: date | None = None) -> list[UPath]:
        """The Parquet files of the table as of now that hold rows of the days given, in a fixed order.

        Args:
            start, end: days (UTC), both included; None leaves that side open. Not for user tables.
        """
        loaded = self.table(table)
        return _paths(loaded, loaded.scan(row_filter=_within(table, start, end)))

    def sizes(self, table: str, start: date | None = None, end: date | None = None) -> list[int]:
        """The bytes of each of the ``files``."""
        scan = self.table(table).scan(row_filter=_within(table, start, end))
        return [file.file_size_in_bytes for file in planned(scan)]

    def files_since(self, table: str, after: int) -> dict[date, tuple[UPath, ...]]:
        """By day: the Parquet files of the table as of now that can hold rows of batches after ``after``.

        Only for event tables. Files are told apart by what the table's metadata says of ``batchSequence``.
        """
        loaded = self.table(table)
        found: dict[date, list[str]] = {}
        for file in planned(loaded.scan(row_filter=f"batchSequence > {after}")):
            day = _EPOCH + timedelta(days=file.partition[0])
            found.setdefault(day, []).append(file.file_path)
        return {
            day: tuple(path_of(loaded, location) for location in sorted(locations))
            for day, locations in found.items()
        }

    def files_of_users(self, table: str, user_ids: Collection[str]) -> list[UPath]:
        """The Parquet files of the table as of now that can hold rows of these users, in a fixed order."""
        if not user_ids:
            return []
        wanted = In("userId", set(user_ids))  # type: ignore[call-arg, arg-type]
        loaded = self.table(table)
        return _paths(loaded, loaded.scan(row_filter=wanted))


def _within(table: str, start: date | None, end: date | None) -> BooleanExpression | str:
    column, bounds = day_column(table), []
    if start is not None:
        bounds.append(f"{column} >= '{_begin(table, start)}'")
    if end is not None:
        bounds.append(f"{column} < '{_begin(table, end + timedelta(days=1))}'")
    return " and ".join(bounds) or AlwaysTrue()


def _begin(table: str, day: date) -> str:
    return str(day) if table == METRICS_TABLE else midnight(day).isoformat()


def _paths(table: Table, scan: DataScan) -> list[UPath]:
    return [path_of(table, location) for location in sorted(file.file_path for file in planned(scan))]


def planned(scan: DataScan) -> list[DataFile]:
    """The files that hold the rows of ``scan``.

    Raises:
        TransientError, InvalidSetting: see ``answering``.
    """
    with answering():
        return [task.file for task in scan.plan_files()]


class StoreFiles(PyArrowFileIO):
    """How PyIceberg reaches the tables' files: as everything else here reaches the object store."""

    def _initialize_s3_fs(self, netloc: str | None) -> FileSystem:
        return objects.arrow_filesystem(self.properties[S3_ENDPOINT], self.properties[S3_REGION])


def path_of(table: Table, location: str) -> UPath:
    """The path of a file of ``table`` that its metadata names by ``location``."""
    about = table.io.properties
    local = location.removeprefix("file://")
    return objects.place(local, about.get(S3_ENDPOINT, ""), about.get(S3_REGION, ""))


def flush_commit(table: Table) -> None:
    """Force the newest commit of ``table`` to disk."""
    # The ledger is told next, and what it says must survive a power cut.
    if objects.is_remote(path_of(table, table.metadata_location)):
        return
    snapshot = table.current_snapshot()
    assert snapshot is not None
    written = [table.metadata_location, snapshot.manifest_list] + [
        manifest.manifest_path
        for manifest in snapshot.manifests(table.io)
        if manifest.added_snapshot_id == snapshot.snapshot_id
    ]
    for uri in written:
        objects.flush(path_of(table, uri))


def retrying(commit: Callable[[], T]) -> T:
    """The result of ``commit``, tried again while other commits win.

    Raises:
        TransientError: if they won, or the catalog was locked, every time.
        StorageFull: if there is no room for it.
    """
    for attempt in range(COMMIT_ATTEMPTS):
        try:
            confirm()
            return commit()
        except (CommitFailedException, ValidationException, OperationalError) as error:
            meant = meaning(error)
            if isinstance(meant, StorageFull):
                raise meant from None
            if attempt + 1 == COMMIT_ATTEMPTS:
                changed = f"the store was changed by others {COMMIT_ATTEMPTS} times in a row; try again"
                raise meant or TransientError(changed) from error
            time.sleep(random.uniform(0.05, 0.1 * 2 ** min(attempt, 5)))
    raise AssertionError("unreachable")
