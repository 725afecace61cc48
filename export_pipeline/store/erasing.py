"""Erasing people from a table: one commit that replaces the files that hold anything of them.

Rows of theirs go, and their ids inside the rows of others are replaced. What only removed rows had, such as
their session ids, leaves the dictionaries of the files as well. The caller holds the locks of whoever
replaces or adds files.
"""

import json
import uuid
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyiceberg.io.pyarrow import (
    _dataframe_to_data_files,
    _get_parquet_writer_kwargs,
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    schema_to_pyarrow,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform
from pyiceberg.types import StringType

from export_pipeline.errors import DamagedData
from export_pipeline.faults import reach
from export_pipeline.files import flush
from export_pipeline.settings import Settings
from export_pipeline.store.maintenance import Removed, delete_unreachable
from export_pipeline.store.store import ERASURE, Store, flush_commit, local_path, retrying
from export_pipeline.store.tables import ROW_GROUP_ROWS, USER_BUCKETS, repeating, texts

USER, SEQUENCE = "userId", "batchSequence"
_EPOCH = date(1970, 1, 1)


class Mentions(Protocol):
    """Finds ids of people in the values of a column, and takes them out."""

    def spans_in_values(self, values: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each match the position of the value it is in, rising, and where in it."""

    def replace(self, values: pa.Array) -> tuple[pa.ChunkedArray, int]:
        """The values with every match replaced, and how many there were."""


@dataclass(frozen=True)
class Edit:
    """What is erased from a table.

    Args:
        holders: the ``userId`` of each row that goes, with the requests for which it does.
        mentions: finds the ids that may stay nowhere.
        watermark: the last batch that came before; rows of later ones stay as they are.
    """

    holders: Mapping[str, tuple[str, ...]] = field(repr=False)
    mentions: Mentions = field(repr=False)
    watermark: int

    @cached_property
    def buckets(self) -> frozenset[int]:
        """The user buckets in which rows that go can be."""
        bucket = BucketTransform(USER_BUCKETS).transform(StringType())
        return frozenset(number for user in self.holders if (number := bucket(user)) is not None)

    @cached_property
    def users(self) -> pa.Array:
        """The ``userId`` of rows that go."""
        return pa.array(sorted(self.holders), pa.large_string())


@dataclass(frozen=True)
class Erased:
    """What was erased from a table.

    ``rows`` counts each row once, ``removed`` the rows for each request, ``replaced`` the ids in rows of
    others, ``days`` the rows removed from every day of which a row changed, ``files`` those rewritten.
    """

    rows: int = 0
    removed: Mapping[str, int] = field(default_factory=dict)
    replaced: int = 0
    days: Mapping[date, int] = field(default_factory=dict)
    files: int = 0

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {**asdict(self), "days": {day.isoformat(): rows for day, rows in self.days.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Erased":
        """What ``to_json`` gave."""
        days = {date.fromisoformat(day): rows for day, rows in value["days"].items()}
        return cls(**{**value, "days": days})


@dataclass
class _Count:
    """What was found in one file."""

    users: Counter[str] = field(default_factory=Counter)
    replaced: int = 0

    @property
    def rows(self) -> int:
        return self.users.total()


@dataclass(frozen=True)
class _Change:
    """A file, what was found in it, and the files that take its place."""

    old: DataFile
    count: _Count
    new: tuple[DataFile, ...] = ()


def erase(settings: Settings, store: Store, table: str, edit: Edit, erasure: str) -> Erased:
    """Remove what ``edit`` says from ``table`` in one commit, marked with ``erasure``; done again, nothing.

    Files that held it are on disk until ``forget_replaced``.

    Raises:
        DamagedData: if a store file is missing or cannot be read.
        TransientError: if other commits won every time.
    """
    if (done := erased_by(store, table, erasure)) is not None:
        return done
    loaded = store.table(table)
    changes = list(_changes(settings, loaded, partial(_rewritten, loaded, edit)))
    erased = _summed(edit, changes)
    if not changes:
        return erased
    for change in changes:
        for file in change.new:
            flush(local_path(file.file_path))
    reach(settings, "erasure.rewritten")

    def commit() -> None:
        current = store.table(table)
        properties = {ERASURE: erasure, "erased": json.dumps(erased.to_json())}
        with (
            current.transaction() as transaction,
            transaction.update_snapshot(properties).overwrite() as snapshot,
        ):
            for change in changes:
                snapshot.delete_data_file(change.old)
                for file in change.new:
                    snapshot.append_data_file(file)
        flush_commit(current)

    retrying(commit)
    reach(settings, "erasure.stored")
    return erased


def erased_by(store: Store, table: str, erasure: str) -> Erased | None:
    """What the commit marked with ``erasure`` removed from ``table``; None if there was none."""
    carried = store.committed(table, erasure, ERASURE)
    return Erased.from_json(json.loads(carried["erased"])) if carried else None


def find(settings: Settings, store: Store, table: str, edit: Edit) -> Erased:
    """What ``erase`` would do, changing nothing."""
    loaded = store.table(table)
    return _summed(edit, list(_changes(settings, loaded, partial(_found, loaded, edit))))


def forget_replaced(store: Store, table: str) -> Removed:
    """Delete from disk everything of ``table`` that its newest snapshot does not reach.

    Only while nobody else adds or replaces files of it. Who reads a file that goes has to plan again.
    """
    loaded = store.table(table)
    old = [s.snapshot_id for s in loaded.snapshots() if s != loaded.current_snapshot()]
    if old:
        retrying(lambda: store.table(table).maintenance.expire_snapshots().by_ids(old).commit())
    return delete_unreachable(store, table)


def _changes(settings: Settings, table: Table, work: Any) -> Iterator[_Change]:
    files = sorted((task.file for task in table.scan().plan_files()), key=lambda f: -f.file_size_in_bytes)
    with ThreadPoolExecutor(settings.workers, thread_name_prefix="erase") as threads:
        try:
            for change in threads.map(work, files):
                if change is not None:
                    yield change
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def _summed(edit: Edit, changes: list[_Change]) -> Erased:
    removed, days = Counter[str](), Counter[date]()
    for change in changes:
        for user, rows in change.count.users.items():
            removed.update(dict.fromkeys(edit.holders[user], rows))
        if len(change.old.partition) > 1:
            days[_EPOCH + timedelta(days=change.old.partition[0])] += change.count.rows
    return Erased(
        sum(change.count.rows for change in changes),
        dict(removed),
        sum(change.count.replaced for change in changes),
        dict(days),
        len(changes),
    )


def _found(table: Table, edit: Edit, file: DataFile) -> _Change | None:
    with _opened(table, file) as parquet:
        if not _is_touched(table, parquet, edit, file):
            return None
        count = _Count()
        for group in _groups(parquet):
            deque(_edited(group, table, edit, count), maxlen=0)
    return _Change(file, count)


def _rewritten(table: Table, edit: Edit, file: DataFile) -> _Change | None:
    with _opened(table, file) as parquet:
        if not _is_touched(table, parquet, edit, file):
            return None
        count = _Count()
        groups = (part for group in _groups(parquet) for part in _edited(group, table, edit, count))
        if _moves(parquet, edit):
            new = _written_anew(table, list(groups))
        else:
            new = _written_beside(table, file, parquet.metadata.metadata, groups)
    if not count.rows and not count.replaced:
        for made in new:
            local_path(made.file_path).unlink()
        return None
    return _Change(file, count, new)


def _opened(table: Table, file: DataFile) -> pq.ParquetFile:
    path = local_path(file.file_path)
    try:
        return pq.ParquetFile(path, read_dictionary=list(repeating(table.name()[-1])))
    except (OSError, pa.ArrowInvalid):
        raise DamagedData(f"store file {path.name} is missing or damaged; restore it") from None


def _groups(parquet: pq.ParquetFile, columns: list[str] | None = None) -> Iterator[pa.Table]:
    for group in range(parquet.metadata.num_row_groups):
        yield parquet.read_row_group(group, columns, use_threads=False).combine_chunks()


def _is_touched(table: Table, parquet: pq.ParquetFile, edit: Edit, file: DataFile) -> bool:
    """Whether a file may hold rows to be removed or ids to be replaced: looks at as little as tells it."""
    if file.partition[-1] in edit.buckets:
        for group in _groups(parquet, [USER]):
            if pc.any(pc.is_in(_dictionary(group[USER]), edit.users)).as_py():
                return True
    columns = list(texts(table.name()[-1]))
    return any(
        len(edit.mentions.spans_in_values(_values(group[name]))[0])
        for group in _groups(parquet, columns)
        for name in columns
    )


def _moves(parquet: pq.ParquetFile, edit: Edit) -> bool:
    """Whether ids are replaced inside of other user ids, so that rows change their bucket."""
    return any(
        len(edit.mentions.spans_in_values(kept)[0])
        for group in _groups(parquet, [USER])
        if len(kept := _without(_dictionary(group[USER]), edit.users))
    )


def _without(values: pa.Array, gone: pa.Array) -> pa.Array:
    return values.filter(pc.invert(pc.is_in(values, gone)))


def _edited(group: pa.Table, table: Table, edit: Edit, count: _Count) -> Iterator[pa.Table]:
    """The rows of ``group`` that stay, as they stay; counts what went."""
    earlier = pc.less_equal(group[SEQUENCE], edit.watermark)
    if not pc.all(earlier).as_py():
        yield _compacted(group.filter(pc.invert(earlier)))
        group = group.filter(earlier)
    users, codes = _dictionary(group[USER]), _codes(group[USER])
    gone = pc.is_in(users, edit.users).to_numpy(zero_copy_only=False)
    if gone.any():
        rows = np.bincount(codes, minlength=len(users))
        for at in np.flatnonzero(gone & (rows > 0)):
            count.users[users[int(at)].as_py()] += int(rows[at])
        group = group.filter(pa.array(~gone[codes]))
    if not group.num_rows:
        return
    group = _compacted(group)
    for position, name in enumerate(group.column_names):
        if name in texts(table.name()[-1]):
            column = _one(group[name])
            if replaced := _count_mentions(column, edit.mentions):
                count.replaced += replaced
                group = group.set_column(position, group.field(position), _replaced(column, edit.mentions))
    yield group


def _count_mentions(column: pa.Array, mentions: Mentions) -> int:
    places, _ = mentions.spans_in_values(_values(column))
    if not len(places) or not pa.types.is_dictionary(column.type):
        return len(places)
    codes = _codes(column)[column.is_valid().to_numpy(zero_copy_only=False)]
    return int(np.bincount(codes, minlength=len(column.dictionary))[places].sum())


def _replaced(column: pa.Array, mentions: Mentions) -> pa.Array:
    values = mentions.replace(_values(column))[0].combine_chunks()
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices, values)
    return values


def _compacted(group: pa.Table) -> pa.Table:
    """``group`` with dictionaries that hold no value without a row."""
    for position, name in enumerate(group.column_names):
        column = _one(group[name])
        if pa.types.is_dictionary(column.type):
            valid = column.is_valid().to_numpy(zero_copy_only=False)
            codes = _codes(column)
            used = np.zeros(max(len(column.dictionary), 1), bool)
            used[codes[valid]] = True
            if used.all():
                continue
            indices = pa.array((np.cumsum(used) - 1)[codes].astype(np.int32), mask=~valid)
            values = column.dictionary.filter(pa.array(used[: len(column.dictionary)]))
            group = group.set_column(
                position, group.field(position), pa.DictionaryArray.from_arrays(indices, values)
            )
    return group


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _dictionary(column: pa.ChunkedArray) -> pa.Array:
    return _one(column).dictionary


def _codes(column: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
    indices = _one(column).indices.fill_null(0)
    return np.asarray(indices.to_numpy(zero_copy_only=False), np.int64)


def _values(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    array = _one(column)
    return array.dictionary if pa.types.is_dictionary(array.type) else array


def _written_beside(
    table: Table, old: DataFile, about: Mapping[bytes, bytes] | None, groups: Iterator[pa.Table]
) -> tuple[DataFile, ...]:
    """A file in the place of ``old``, in its partition and with what it says ``about`` its types; none if
    nothing stays."""
    path = local_path(old.file_path).with_name(f"{uuid.uuid4()}.parquet")
    writer: pq.ParquetWriter | None = None
    try:
        for group in groups:
            if writer is None:
                # The types by which rows are read here are no concern of other readers.
                options = _get_parquet_writer_kwargs(table.properties)
                writer = pq.ParquetWriter(path, group.schema, store_schema=False, **options)
            writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
        if writer is None:
            return ()
        writer.add_key_value_metadata(about or {})
        writer.close()
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    metadata = table.metadata
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=writer.writer.metadata,
        stats_columns=compute_statistics_plan(metadata.schema(), metadata.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(metadata.schema()),
    )
    location = old.file_path.removesuffix(local_path(old.file_path).name) + path.name
    made = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=location,
        file_format=FileFormat.PARQUET,
        partition=old.partition,
        file_size_in_bytes=path.stat().st_size,
        sort_order_id=None,
        spec_id=metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )
    return (made,)


def _written_anew(table: Table, groups: list[pa.Table]) -> tuple[DataFile, ...]:
    if not groups:
        return ()
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    rows = pa.concat_tables([_plain(group) for group in groups]).cast(schema)
    return tuple(_dataframe_to_data_files(table.metadata, rows, table.io))


def _plain(group: pa.Table) -> pa.Table:
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in group.columns
    ]
    return pa.table(columns, names=group.column_names)
