"""Erasing people from a table: one commit that replaces the files that hold anything of them.

The caller holds the locks of whoever replaces or adds files.
"""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from export_pipeline import objects
from export_pipeline.faults import reach
from export_pipeline.settings import Settings
from export_pipeline.store.editing import USER, Count, Edit, edited, values_of
from export_pipeline.store.maintenance import Removed, delete_unreachable
from export_pipeline.store.replacing import groups_of, opened, written_anew, written_beside
from export_pipeline.store.store import ERASURE, Store, flush_commit, path_of, planned, retrying
from export_pipeline.store.tables import texts

_EPOCH = date(1970, 1, 1)


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


@dataclass(frozen=True)
class _Change:
    """A file, what was found in it, and the files that take its place."""

    old: DataFile
    count: Count
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
            objects.flush(path_of(loaded, file.file_path))
    reach(settings, "erasure.rewritten")

    def commit() -> None:
        if erased_by(store, table, erasure) is not None:
            return  # by a try before, whose answer was lost
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


def _changes(
    settings: Settings, table: Table, work: Callable[[DataFile], _Change | None]
) -> Iterator[_Change]:
    files = sorted(planned(table.scan()), key=lambda f: -f.file_size_in_bytes)
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
    with opened(table, file) as parquet:
        if not _is_touched(table, parquet, edit, file):
            return None
        count = Count()
        for group in groups_of(parquet):
            deque(edited(group, table.name()[-1], edit, count), maxlen=0)
    return _Change(file, count)


def _rewritten(table: Table, edit: Edit, file: DataFile) -> _Change | None:
    with opened(table, file) as parquet:
        if not _is_touched(table, parquet, edit, file):
            return None
        count = Count()
        groups = (
            part for group in groups_of(parquet) for part in edited(group, table.name()[-1], edit, count)
        )
        if _moves(parquet, edit):
            new = written_anew(table, list(groups))
        else:
            new = written_beside(table, file, parquet.metadata.metadata, groups)
    if not count.rows and not count.replaced:
        for made in new:
            path_of(table, made.file_path).unlink()
        return None
    return _Change(file, count, new)


def _is_touched(table: Table, parquet: pq.ParquetFile, edit: Edit, file: DataFile) -> bool:
    """Whether a file may hold rows to be removed or ids to be replaced: looks at as little as tells it."""
    if file.partition[-1] in edit.buckets:
        for group in groups_of(parquet, [USER]):
            if pc.any(pc.is_in(values_of(group[USER]), edit.users)).as_py():
                return True
    columns = list(texts(table.name()[-1]))
    return any(
        len(edit.mentions.spans_in_values(values_of(group[name]))[0])
        for group in groups_of(parquet, columns)
        for name in columns
    )


def _moves(parquet: pq.ParquetFile, edit: Edit) -> bool:
    """Whether ids are replaced inside of other user ids, so that rows change their bucket."""
    return any(
        len(edit.mentions.spans_in_values(kept)[0])
        for group in groups_of(parquet, [USER])
        if len(kept := _without(values_of(group[USER]), edit.users))
    )


def _without(values: pa.Array, gone: pa.Array) -> pa.Array:
    return values.filter(pc.invert(pc.is_in(values, gone)))
