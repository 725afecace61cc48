"""Days put together for charts of long ranges: the finest of days, weeks, months, years that a page holds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from export_pipeline.days import days_between

MOST_BINS = 92
"""Values of each chart that a page shows."""


@dataclass(frozen=True)
class Bin:
    """Days that are one value of a chart; ``label`` names them."""

    first: date
    last: date
    label: str


@dataclass(frozen=True)
class Unit:
    """How long the days of a bin are together: the word for it, and the title of their column."""

    word: str
    column: str


DAY, WEEK = Unit("day", "Day"), Unit("week", "Week from")
MONTH, YEAR = Unit("month", "Month"), Unit("year", "Year")
UNITS = (DAY, WEEK, MONTH, YEAR)


def bins(first: date, last: date) -> tuple[Unit, Sequence[Bin]]:
    """The bins of the days from ``first`` to ``last``, oldest first; those at the ends may be shorter."""
    for unit in UNITS:
        found = list(_cut(first, last, unit))
        if len(found) <= MOST_BINS:
            break
    return unit, found


def _cut(first: date, last: date, unit: Unit) -> Iterator[Bin]:
    begun = first
    for day in days_between(first, last):
        if day == last or _name(day + timedelta(days=1), unit) != _name(day, unit):
            yield Bin(begun, day, str(begun) if unit in (DAY, WEEK) else _name(day, unit))
            begun = day + timedelta(days=1)


def _name(day: date, unit: Unit) -> str:
    if unit == DAY:
        return str(day)
    if unit == WEEK:
        return str(day - timedelta(days=day.weekday()))
    return f"{day:%Y-%m}" if unit == MONTH else f"{day:%Y}"
