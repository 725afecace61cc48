"""Scheduled exports: which deliveries are due, of which days, and jobs made of them (contract, section 5).

A delivery has a day (UTC): a daily one is of the day before, a weekly one on a Monday of the seven days
before. It is due at the off-peak hour, made once its days are closed, and caught up for as long as its days
are kept; whoever makes it, the ledger sees to it that it is made once. In mode ``incremental`` the first one
is of its days, and each later one goes on from the cursor of the last that is complete, one after the other.
From a cursor that is too old nobody can go on: that delivery fails, its receiver is told why, and the next
one begins anew.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache

from export_pipeline.days import close_instant, days_between, midnight, oldest_kept_day
from export_pipeline.errors import Conflict, InvalidRequest, NotFound, OutsideRetention
from export_pipeline.exports.cursors import parse_since
from export_pipeline.exports.due import is_closed
from export_pipeline.exports.estimates import estimate
from export_pipeline.exports.making import Waiting
from export_pipeline.exports.ondemand import kept_days
from export_pipeline.exports.request import ExportRequest, parse_request
from export_pipeline.exports.service import noted
from export_pipeline.faults import reach
from export_pipeline.ledger import Job, Ledger, NewJob
from export_pipeline.ledger.jobs import SCHEDULED
from export_pipeline.ledger.schedules import INCREMENTAL, WEEKLY, Schedule
from export_pipeline.settings import Settings
from export_pipeline.store import Store

ASSEMBLY_PATIENCE = timedelta(hours=1)
"""How long, from when it could be made, a delivery waits for the daily exports it can be assembled from."""
_WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Delivery:
    """One delivery of a schedule, on ``day``, of the days from ``start`` to ``end``.

    ``late``: its time was missed, and a later one's has come meanwhile.
    """

    schedule: Schedule
    day: date
    start: date
    end: date
    late: bool

    @property
    def export_id(self) -> str:
        """The id of its export."""
        return f"exp_{self.schedule.frequency}_{self.day:%Y%m%d}_{self.schedule.id}"


@dataclass(frozen=True)
class Look:
    """What is due at an instant: deliveries to make now, oldest first for each schedule; schedules whose next
    one waits, and for what; and schedules of which days that are not kept any more are left out, with the day
    they go on with."""

    ready: tuple[Delivery, ...]
    waiting: Mapping[str, str]
    lost: tuple[tuple[Schedule, date], ...]


@dataclass(frozen=True)
class Queued:
    """What became of a look: the jobs that were made, those caught up apart, and deliveries left out."""

    jobs: tuple[Job, ...]
    caught_up: tuple[Job, ...]
    left_out: int


def first_day(frequency: str, now: datetime) -> date:
    """The day of the last delivery whose day has come: with it a new schedule begins."""
    today = now.astimezone(UTC).date()
    return today - timedelta(days=today.weekday()) if frequency == WEEKLY else today


def changed_day(schedule: Schedule, frequency: str) -> date:
    """The day of the next delivery of a schedule that gets this frequency: no day is left out."""
    if frequency == schedule.frequency:
        return schedule.next_day
    undelivered = schedule.next_day - _step(schedule)
    if frequency == WEEKLY:
        return undelivered - timedelta(days=undelivered.weekday()) + _WEEK
    return undelivered + timedelta(days=1)


def days_of(schedule: Schedule, day: date) -> tuple[date, date]:
    """The first and the last day that the delivery of a day is of."""
    return day - _step(schedule), day - timedelta(days=1)


def next_run(settings: Settings, schedule: Schedule, now: datetime) -> datetime | None:
    """The next off-peak hour after ``now`` at which a delivery is due; None if the schedule is disabled."""
    if not schedule.enabled:
        return None
    day = max(schedule.next_day, first_day(schedule.frequency, now))
    return at if (at := _due_at(settings, day)) > now else at + _step(schedule)


def look(
    settings: Settings, ledger: Ledger, now: datetime, waiting: Waiting, frequency: str | None = None
) -> Look:
    """What is due at ``now``; it is looked at, and nothing is done.

    Args:
        waiting: which days something landed waits for.
        frequency: only schedules of this one.
    """
    # Looked at once for all: it reads what landed.
    waiting = cache(waiting)
    ready: list[Delivery] = []
    waits: dict[str, str] = {}
    lost: list[tuple[Schedule, date]] = []
    for schedule in ledger.schedules.enabled(frequency):
        kept = _first_kept(settings, ledger, schedule, now)
        if kept > schedule.next_day:
            lost.append((schedule, kept))
        for delivery in _come(settings, schedule, kept, now):
            if why := _why_not(settings, ledger, delivery, now, waiting):
                waits[schedule.id] = why
                break
            ready.append(delivery)
            if schedule.mode == INCREMENTAL:
                break
    return Look(tuple(ready), waits, tuple(lost))


def queue_due(
    settings: Settings,
    store: Store,
    ledger: Ledger,
    now: datetime,
    waiting: Waiting,
    frequency: str | None = None,
) -> Queued:
    """Queue the jobs of all deliveries that are due at ``now``; see ``look``."""
    found = look(settings, ledger, now, waiting, frequency)
    left_out = 0
    for schedule, day in found.lost:
        if ledger.schedules.skip(schedule, day):
            left_out += (day - schedule.next_day) // _step(schedule)
    jobs: list[Job] = []
    caught_up: list[Job] = []
    for delivery in found.ready:
        job = _queue(settings, store, ledger, delivery, now)
        if job:
            (caught_up if delivery.late else jobs).append(job)
            reach(settings, "schedule.queued")
    return Queued(tuple(jobs), tuple(caught_up), left_out)


def run_now(
    settings: Settings, store: Store, ledger: Ledger, schedule_id: str, now: datetime, waiting: Waiting
) -> Job:
    """Queue the newest delivery of a schedule, enabled or not, at once; made before, it is made again.

    Raises:
        NotFound: if there is no such schedule.
        Conflict: if its days are not closed, it is being made, or a user of its filter was erased.
    """
    schedule = ledger.schedules.get(schedule_id)
    delivery = _delivery(schedule, first_day(schedule.frequency, now), now)
    if why := _open(settings, delivery, now, waiting):
        raise Conflict(why, field="id")
    if schedule.reason:
        raise Conflict(f"schedule {schedule.id} is disabled: {schedule.reason}", field="id")
    new = _job(settings, store, ledger, delivery, now)
    return ledger.schedules.queue_now(schedule, new, now, delivery.export_id)


def _queue(settings: Settings, store: Store, ledger: Ledger, delivery: Delivery, now: datetime) -> Job | None:
    try:
        schedule = ledger.schedules.get(delivery.schedule.id)
    except NotFound:  # removed since it was looked at
        return None
    if schedule.next_day != delivery.day:
        return None
    try:
        new = _job(settings, store, ledger, delivery, now)
    except OutsideRetention:
        return None
    return ledger.schedules.queue(schedule, delivery.day + _step(schedule), new, now, delivery.export_id)


def _job(settings: Settings, store: Store, ledger: Ledger, delivery: Delivery, now: datetime) -> NewJob:
    request = _request(settings, ledger, delivery, now)
    expected = estimate(settings, store, ledger, request, now)
    asked = noted(request)
    asked["since"] = list(_cursors(ledger, delivery.schedule))
    asked["filters"] = delivery.schedule.request["filters"]
    return NewJob(
        request=asked,
        user_ids=(),
        estimated_rows=expected.rows,
        estimated_bytes=expected.bytes,
        estimated_completion=expected.completion,
        created_by=delivery.schedule.id,
        kind=SCHEDULED,
    )


def _request(settings: Settings, ledger: Ledger, delivery: Delivery, now: datetime) -> ExportRequest:
    """The request of a delivery, but for the users that its filter names."""
    if cursors := _cursors(ledger, delivery.schedule):
        # Whoever works on it refuses what cannot be gone on from, in words for who waits for it.
        with suppress(OutsideRetention, InvalidRequest):
            return _parsed(settings, delivery, {"cursor": cursors}, now)
    return _parsed(settings, delivery, {"startDate": str(delivery.start), "endDate": str(delivery.end)}, now)


def _cursors(ledger: Ledger, schedule: Schedule) -> tuple[str, ...]:
    return ledger.schedules.cursors(schedule.id) if schedule.mode == INCREMENTAL else ()


def check_goes_on(
    settings: Settings, ledger: Ledger, schedule: Schedule, data_types: Sequence[str], now: datetime
) -> None:
    """Refuse data types that the next increment of a schedule could not go on with.

    Raises:
        InvalidRequest: naming ``dataTypes``.
    """
    with suppress(OutsideRetention):
        if cursors := ledger.schedules.cursors(schedule.id):
            held = parse_since(cursors, now=now, settings=settings).data_types
            if missing := [name for name in data_types if name not in held]:
                raise InvalidRequest(
                    f"dataTypes holds {missing[0]}, of which the increments of {schedule.id} hold nothing so "
                    f"far; it must be of {', '.join(held)}. Make another schedule for {missing[0]}",
                    field="dataTypes",
                )


def _parsed(
    settings: Settings, delivery: Delivery, what: Mapping[str, object], now: datetime
) -> ExportRequest:
    asked = delivery.schedule.request
    filters = {name: asked["filters"][name] for name in ("contentIds", "eventTypes")}
    values = {
        **what,
        **{name: asked[name] for name in ("dataTypes", "format", "compression")},
        "filters": {name: wanted for name, wanted in filters.items() if wanted},
    }
    return parse_request(values, now=now, settings=settings)


def _come(settings: Settings, schedule: Schedule, day: date, now: datetime) -> Iterator[Delivery]:
    """The deliveries from that of ``day`` on whose time has come at ``now``."""
    while _due_at(settings, day) <= now:
        yield _delivery(schedule, day, now)
        day += _step(schedule)


def _delivery(schedule: Schedule, day: date, now: datetime) -> Delivery:
    late = day < first_day(schedule.frequency, now)
    return Delivery(schedule, day, *days_of(schedule, day), late)


def _step(schedule: Schedule) -> timedelta:
    return _WEEK if schedule.frequency == WEEKLY else timedelta(days=1)


def _due_at(settings: Settings, day: date) -> datetime:
    return midnight(day) + timedelta(hours=settings.export_hour)


def _first_kept(settings: Settings, ledger: Ledger, schedule: Schedule, now: datetime) -> date:
    """The day of the next delivery all of whose days are kept."""
    oldest = oldest_kept_day(now, settings.raw_retention_days)
    dropped = (ledger.keeping.first_day(name) for name in schedule.request["dataTypes"])
    oldest = max([oldest, *(day for day in dropped if day)])
    step, day = _step(schedule), schedule.next_day
    missing = oldest - (day - step)
    return day + step * -(-missing // step) if missing > timedelta(0) else day


def _why_not(
    settings: Settings, ledger: Ledger, delivery: Delivery, now: datetime, waiting: Waiting
) -> str | None:
    """What a delivery has to wait for, in words; None if it can be made."""
    if why := _open(settings, delivery, now, waiting):
        return why
    if delivery.schedule.mode == INCREMENTAL and ledger.schedules.is_making(delivery.schedule.id):
        return "the delivery before it is being made"
    if now < possible_from(settings, delivery) + ASSEMBLY_PATIENCE and not _assembled(
        settings, ledger, delivery, now
    ):
        return f"the daily exports of {_days(delivery)} are still being made"
    return None


def possible_from(settings: Settings, delivery: Delivery) -> datetime:
    """When a delivery could be made at the earliest, if nothing that landed waited."""
    return max(_due_at(settings, delivery.day), close_instant(delivery.end, settings.close_delay))


def _open(settings: Settings, delivery: Delivery, now: datetime, waiting: Waiting) -> str | None:
    for data_type in delivery.schedule.request["dataTypes"]:
        landed = waiting(data_type)
        for day in days_between(delivery.start, delivery.end):
            if not is_closed(day, now, settings, landed):
                closes = close_instant(day, settings.close_delay)
                until = f"before {closes:%H:%M} UTC" if now < closes else "while files that landed wait"
                return f"{day} is not closed for {data_type} {until}"
    return None


def _assembled(settings: Settings, ledger: Ledger, delivery: Delivery, now: datetime) -> bool:
    """Whether every day with rows can be taken over from its daily export; no day of a filter ever can."""
    request = _request(settings, ledger, delivery, now)
    kept = kept_days(settings, request)
    if kept is None or delivery.schedule.request["filters"]["userCount"]:
        return True
    for data_type in request.data_types:
        states = ledger.read_days(data_type, request.start, request.end)
        for day in days_between(request.start, request.end):
            if states[day].rows and kept(data_type, day, states[day]) is None:
                return False
    return True


def _days(delivery: Delivery) -> str:
    return str(delivery.start) if delivery.start == delivery.end else f"{delivery.start} to {delivery.end}"
