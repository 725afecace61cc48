"""Which daily exports are due: closed days, yesterday and a few before it, that are not exported yet."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from export_pipeline.days import close_instant, days_between, oldest_kept_day
from export_pipeline.settings import Settings

T = TypeVar("T")

CATCH_UP_DAYS = 7
"""How many days, yesterday included, are looked at, so that an outage of some days leaves no gap."""


@dataclass(frozen=True)
class Due:
    """By day, oldest first: data types to export now, and those whose day is not closed."""

    ready: Mapping[date, tuple[str, ...]]
    waiting: Mapping[date, tuple[str, ...]]


def due_days(now: datetime, settings: Settings, first_known: date | None) -> list[date]:
    """The days whose exports may be due at ``now``, oldest first; yesterday is always one of them.

    Args:
        first_known: the first day that has rows; what lies before it is not caught up.
    """
    yesterday = now.astimezone(UTC).date() - timedelta(days=1)
    start = max(
        min(first_known or yesterday, yesterday),
        yesterday - timedelta(days=CATCH_UP_DAYS - 1),
        settings.first_day,
        oldest_kept_day(now, settings.raw_retention_days),
    )
    return list(days_between(start, yesterday))


def due_exports(
    days: Iterable[date],
    data_types: Iterable[str],
    *,
    closed: Callable[[str, date], bool],
    exported: Callable[[str, date], bool],
) -> Due:
    """Sort what is not exported yet into what is ready and what waits.

    Args:
        closed: whether a (data type, day) is closed.
        exported: whether a (data type, day) has a complete daily export in every format.
    """
    data_types = tuple(data_types)
    ready: dict[date, tuple[str, ...]] = {}
    waiting: dict[date, tuple[str, ...]] = {}
    for day in days:
        missing = [t for t in data_types if not exported(t, day)]
        if now_due := tuple(t for t in missing if closed(t, day)):
            ready[day] = now_due
        if still_open := tuple(t for t in missing if t not in now_due):
            waiting[day] = still_open
    return Due(ready, waiting)


def stretches(ready: Mapping[date, tuple[T, ...]]) -> list[tuple[date, date, tuple[T, ...]]]:
    """Consecutive days with the same exports to make, as (first day, last day, exports), oldest first."""
    found: list[tuple[date, date, tuple[T, ...]]] = []
    for day, exports in sorted(ready.items(), key=lambda each: each[0]):
        if found and found[-1][1] + timedelta(days=1) == day and found[-1][2] == exports:
            found[-1] = (found[-1][0], day, exports)
        else:
            found.append((day, day, exports))
    return found


def is_closed(day: date, now: datetime, settings: Settings, waiting: Collection[date] | None) -> bool:
    """Whether ``day`` is closed at ``now`` (contract, section 3).

    Args:
        waiting: the days of the data type for which something landed and waits; None if it could be any day.
    """
    return now >= close_instant(day, settings.close_delay) and waiting is not None and day not in waiting
