"""Every read and every transition of the ledger, each one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any

import pyarrow as pa
from sqlalchemy import Column, Connection, Engine, Row, func, insert, select, update

from export_pipeline import ids, locks
from export_pipeline.errors import Conflict
from export_pipeline.ledger.answers import Answers
from export_pipeline.ledger.attempts import Attempts
from export_pipeline.ledger.audit import Audit
from export_pipeline.ledger.batches import ABANDONED, COMMITTED, TAKEN, Batch, Counts
from export_pipeline.ledger.engine import connect, reading
from export_pipeline.ledger.erasing import Replace, empty_log, replace_texts
from export_pipeline.ledger.erasure_steps import ErasureSteps
from export_pipeline.ledger.erasures import ERASE_STORE, Erasures
from export_pipeline.ledger.jobs import Jobs
from export_pipeline.ledger.keeping import Keeping
from export_pipeline.ledger.keys import Keys
from export_pipeline.ledger.links import Links
from export_pipeline.ledger.messages import Messages
from export_pipeline.ledger.schedules import Schedules
from export_pipeline.ledger.sessions import Sessions
from export_pipeline.ledger.tables import COUNTS, batch_days, batches, data_versions, suppressions, watermarks
from export_pipeline.ledger.webhooks import Webhooks
from export_pipeline.settings import Settings

FIRST_VERSION = 1
"""The data version of a day after the first rows came; a day without rows has version 0."""


@dataclass(frozen=True)
class DayState:
    """The data version of a (data type, day), its rows, when they changed last, and how many erasures
    changed them."""

    version: int = 0
    rows: int = 0
    changed_at: datetime | None = None
    erasures: int = 0


@dataclass(frozen=True)
class Days:
    """One consistent look at a range of days of a data type.

    Rows whose ``batchSequence`` is above ``watermark`` are not part of these versions.
    """

    watermark: int
    states: Mapping[date, DayState]

    def __getitem__(self, day: date) -> DayState:
        """The state of ``day``; a day that nothing came for has version 0 and no rows."""
        return self.states.get(day, DayState())


class Ledger:
    """The ledger of one deployment; safe to share between threads, cheap to open in each process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = connect(settings)

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock ``name`` between processes; the death of the holder frees it."""
        return locks.lock(self._settings, name)

    @cached_property
    def jobs(self) -> Jobs:
        """The export jobs."""
        return Jobs(self._settings, self._engine)

    @cached_property
    def erasures(self) -> Erasures:
        """The requests to erase people."""
        return Erasures(self._settings, self._engine)

    @cached_property
    def erasure_steps(self) -> ErasureSteps:
        """What was done in the passes of erasures."""
        return ErasureSteps(self._engine)

    @cached_property
    def keys(self) -> Keys:
        """The API keys."""
        return Keys(self._engine)

    @cached_property
    def links(self) -> Links:
        """Links to the files of exports, and their downloads."""
        return Links(self._engine)

    @cached_property
    def answers(self) -> Answers:
        """Answers kept for requests that are made again."""
        return Answers(self._settings, self._engine)

    @cached_property
    def webhooks(self) -> Webhooks:
        """The endpoints of webhooks."""
        return Webhooks(self._settings, self._engine)

    @cached_property
    def messages(self) -> Messages:
        """The outbox."""
        return Messages(self._settings, self._engine)

    @cached_property
    def attempts(self) -> Attempts:
        """Claims of messages, and what became of them."""
        return Attempts(self._engine)

    @cached_property
    def schedules(self) -> Schedules:
        """The scheduled exports."""
        return Schedules(self._settings, self._engine, self.jobs, self.webhooks)

    @cached_property
    def keeping(self) -> Keeping:
        """What retention removed, and what daily metrics were computed from."""
        return Keeping(self._engine)

    @cached_property
    def sessions(self) -> Sessions:
        """The sessions of the portal."""
        return Sessions(self._settings, self._engine)

    @cached_property
    def audit(self) -> Audit:
        """What was done in the portal."""
        return Audit(self._engine)

    def replace_texts(self, replace: Replace) -> int:
        """Replace ids in every text the ledger holds; how many were replaced."""
        return replace_texts(self._engine, replace)

    def empty_log(self) -> None:
        """Leave nothing on disk that was replaced or removed.

        Raises:
            TransientError: if others read for too long.
        """
        empty_log(self._engine)

    def take_batch(self, target: str, source: str, files: Sequence[str], now: datetime) -> Batch:
        """Note a batch, with the next sequence number, before anything of it is written."""
        batch_id = ids.BATCH.new()
        with self._engine.begin() as connection:
            last = connection.execute(select(func.max(batches.c.sequence))).scalar() or 0
            connection.execute(
                insert(batches).values(
                    id=batch_id,
                    sequence=last + 1,
                    target=target,
                    source=source,
                    state=TAKEN,
                    files=list(files),
                    taken_at=now,
                )
            )
        return Batch(batch_id, last + 1, target, source, TAKEN, tuple(files), now, None, Counts())

    def commit_batch(self, batch_id: str, counts: Counts, days: Mapping[date, int], now: datetime) -> None:
        """End a batch whose rows are in the store: its counts, and a new version of each day it changed.

        Args:
            days: accepted rows by day, for a data type; empty for a user table.

        Raises:
            Conflict: if the batch is not in state ``taken``.
            ValueError: if the counts do not add up.
        """
        if not counts.add_up():
            raise ValueError(f"the counts of batch {batch_id} do not add up: {counts}")
        with self._engine.begin() as connection:
            target = self._end(connection, batch_id, COMMITTED, now, asdict(counts))
            for day, rows in days.items():
                if rows:
                    connection.execute(insert(batch_days).values(batch_id=batch_id, day=day, rows=rows))
                    self._raise_version(connection, target, day, rows, now)

    def abandon_batch(self, batch_id: str, now: datetime) -> None:
        """End a batch of which nothing is in the store and which will not be tried again."""
        with self._engine.begin() as connection:
            self._end(connection, batch_id, ABANDONED, now, {})

    def _end(
        self, connection: Connection, batch_id: str, state: str, now: datetime, values: Mapping[str, int]
    ) -> str:
        target = connection.execute(
            update(batches)
            .where(batches.c.id == batch_id, batches.c.state == TAKEN)
            .values(state=state, ended_at=now, **values)
            .returning(batches.c.target)
        ).scalar()
        if target is None:
            raise Conflict(f"batch {batch_id} has ended already or does not exist", field="batchId")
        return str(target)

    def _raise_version(
        self, connection: Connection, data_type: str, day: date, added: int, now: datetime
    ) -> None:
        key = (data_versions.c.data_type == data_type, data_versions.c.day == day)
        changed = connection.execute(
            update(data_versions)
            .where(*key)
            .values(
                version=data_versions.c.version + 1,
                rows=data_versions.c.rows + added,
                changed_at=now,
            )
        )
        if not changed.rowcount:
            connection.execute(
                insert(data_versions).values(
                    data_type=data_type, day=day, version=FIRST_VERSION, rows=added, changed_at=now
                )
            )

    def open_batches(self, target: str | None = None) -> list[Batch]:
        """The batches that were taken and have not ended, in the order in which they were taken."""
        query = select(batches).where(batches.c.state == TAKEN).order_by(batches.c.sequence)
        if target is not None:
            query = query.where(batches.c.target == target)
        with reading(self._engine) as connection:
            return [_batch(row) for row in connection.execute(query)]

    def unfinished(self) -> set[str]:
        """The ids of batches and erasures that may be in the store and are not yet noted as such.

        They are recognised by their snapshots, which have to be kept until then.
        """
        return {batch.id for batch in self.open_batches()} | {*self.erasures.unfinished_passes(ERASE_STORE)}

    def last_batches(self, limit: int) -> list[Batch]:
        """The batches taken last, newest first."""
        query = select(batches).order_by(batches.c.sequence.desc()).limit(limit)
        with reading(self._engine) as connection:
            return [_batch(row) for row in connection.execute(query)]

    def totals(self, since: datetime | None = None) -> dict[str, tuple[Counts, datetime]]:
        """By target: the sum of the counts of committed batches and when the last one was taken."""
        sums = [func.sum(batches.c[name]) for name in COUNTS]
        query = (
            select(batches.c.target, func.max(batches.c.taken_at, type_=batches.c.taken_at.type), *sums)
            .where(batches.c.state == COMMITTED)
            .group_by(batches.c.target)
        )
        if since is not None:
            query = query.where(batches.c.taken_at >= since)
        with reading(self._engine) as connection:
            return {
                target: (Counts(*(int(n) for n in numbers)), last)
                for target, last, *numbers in connection.execute(query)
            }

    def read_days(self, data_type: str, start: date, end: date) -> Days:
        """Versions and rows of the days from ``start`` to ``end``, and the watermark they stand for."""
        with reading(self._engine) as connection:
            open_from = connection.execute(
                select(func.min(batches.c.sequence)).where(
                    batches.c.state == TAKEN, batches.c.target == data_type
                )
            ).scalar()
            last = connection.execute(select(func.max(batches.c.sequence))).scalar() or 0
            rows = connection.execute(
                select(
                    data_versions.c.day,
                    data_versions.c.version,
                    data_versions.c.rows,
                    data_versions.c.changed_at,
                    data_versions.c.erasures,
                ).where(data_versions.c.data_type == data_type, data_versions.c.day.between(start, end))
            )
            states = {day: DayState(*state) for day, *state in rows}
        return Days(last if open_from is None else open_from - 1, states)

    def rows_taken(self, data_type: str, after: int, upto: int) -> dict[date, int]:
        """By day: the rows that batches numbered above ``after``, not above ``upto``, brought of a data type.

        Rows of people who were erased since are counted.
        """
        query = (
            select(batch_days.c.day, func.sum(batch_days.c.rows))
            .join(batches, batches.c.id == batch_days.c.batch_id)
            .where(
                batches.c.target == data_type,
                batches.c.state == COMMITTED,
                batches.c.sequence > after,
                batches.c.sequence <= upto,
            )
            .group_by(batch_days.c.day)
            .order_by(batch_days.c.day)
        )
        with reading(self._engine) as connection:
            return {day: int(rows) for day, rows in connection.execute(query)}

    def rows_of_day(self, data_type: str, day: date, after: int) -> tuple[int, datetime | None]:
        """The rows that batches numbered above ``after`` brought for a day, and when the first one ended."""
        query = (
            select(
                func.coalesce(func.sum(batch_days.c.rows), 0),
                func.min(batches.c.ended_at, type_=batches.c.ended_at.type),
            )
            .join(batches, batches.c.id == batch_days.c.batch_id)
            .where(
                batches.c.target == data_type,
                batches.c.state == COMMITTED,
                batches.c.sequence > after,
                batch_days.c.day == day,
            )
        )
        with reading(self._engine) as connection:
            rows, first = connection.execute(query).one()
        return int(rows), first

    def known_days(self, data_type: str) -> dict[date, DayState]:
        """Every day of a data type that has a data version."""
        return dict(self.read_days(data_type, date.min, date.max).states)

    def read_to(self, source: str, target: str) -> datetime | None:
        """The instant up to which ``target`` was read from a source database; None before the first."""
        query = select(watermarks.c.read_to).where(
            watermarks.c.source == source, watermarks.c.target == target
        )
        with reading(self._engine) as connection:
            return connection.execute(query).scalar()

    def move_watermark(self, source: str, target: str, read_to: datetime) -> None:
        """Note that ``target`` was read from a source database up to ``read_to``; it never moves back."""
        _raise_to(self._engine, watermarks.c.read_to, read_to, {"source": source, "target": target})

    def suppress_all(self, key_hashes: Iterable[str], erased_at: datetime) -> None:
        """``suppress`` for each of many, in one transaction."""
        with self._engine.begin() as connection:
            for key_hash in key_hashes:
                _raise_in(connection, suppressions.c.erased_at, erased_at, {"key_hash": key_hash})

    def suppressions(self) -> pa.Table:
        """The keyed hashes of erased people with the instant of the erasure."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(suppressions.c.key_hash, suppressions.c.erased_at)).all()
        schema = pa.schema([("key_hash", pa.string()), ("erased_at", pa.timestamp("us", "UTC"))])
        return pa.Table.from_pylist([dict(row._mapping) for row in rows], schema=schema)


def _raise_to(engine: Engine, column: Column[Any], instant: datetime, key: Mapping[str, str]) -> None:
    """Set an instant of the row ``key`` to the later of what it is and ``instant``; make an absent row."""
    with engine.begin() as connection:
        _raise_in(connection, column, instant, key)


def _raise_in(connection: Connection, column: Column[Any], instant: datetime, key: Mapping[str, str]) -> None:
    table = column.table
    where = [table.c[name] == value for name, value in key.items()]
    held = connection.execute(select(column).where(*where)).scalar()
    if held is None:
        connection.execute(insert(table).values({**key, column.name: instant}))
    elif held < instant:
        connection.execute(update(table).where(*where).values({column.name: instant}))


def _batch(row: Row[Any]) -> Batch:
    return Batch(
        row.id,
        row.sequence,
        row.target,
        row.source,
        row.state,
        tuple(row.files),
        row.taken_at,
        row.ended_at,
        Counts(*(getattr(row, name) for name in COUNTS)),
    )
