"""Looking: which days of a data type an export is made of, and which of their rows, as of one instant.

A look is one reading of the ledger. An export in full holds the days of its range up to the look's
watermark; an increment the days that batches touched since its cursor, and of them the rows of those batches.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from export_pipeline.days import days_between
from export_pipeline.errors import InvalidRequest, OutsideRetention
from export_pipeline.exports.cursors import Since
from export_pipeline.exports.manifest import DayEntry
from export_pipeline.exports.request import ExportRequest
from export_pipeline.ledger import DayState, Ledger


@dataclass(frozen=True)
class Wanted:
    """Of a day in ``state``: the rows of batches after number ``after``, as many as ``rows``.

    If not ``exact``, there may be fewer: those of people who were erased are counted.
    """

    state: DayState
    after: int
    rows: int
    exact: bool = True


@dataclass(frozen=True)
class Look:
    """What of a data type an export is made of; rows of batches above ``watermark`` are not."""

    data_type: str
    watermark: int
    days: Mapping[date, Wanted]

    def miscounted(self, entry: DayEntry) -> str | None:
        """How a day of an export of all its rows differs from what was counted in, if it does."""
        wanted = self.days[entry.date]
        if entry.rows == wanted.rows or (entry.rows < wanted.rows and not wanted.exact):
            return None
        return (
            f"the store has {entry.rows} rows of {self.data_type} on {entry.date}; "
            f"the ledger counts {wanted.rows}"
        )


def look(ledger: Ledger, data_type: str, request: ExportRequest) -> Look:
    """What of a data type ``request`` asks for, as of now.

    Raises:
        InvalidRequest: if its cursor knows of batches that were never taken.
        OutsideRetention: if a day of its range was dropped.
    """
    if request.since is not None:
        return _since(ledger, data_type, request.since)
    days = ledger.read_days(data_type, request.start, request.end)
    first = ledger.keeping.first_day(data_type)
    if first and request.start < first:
        raise OutsideRetention(
            f"startDate is {request.start}; raw events before {first} are no longer kept", field="startDate"
        )
    wanted = {day: Wanted(days[day], 0, days[day].rows) for day in days_between(request.start, request.end)}
    return Look(data_type, days.watermark, wanted)


def _since(ledger: Ledger, data_type: str, since: Since) -> Look:
    days = ledger.read_days(data_type, since.kept_from, date.max)
    marks = since.watermarks(data_type)
    if marks[-1] > days.watermark:
        raise InvalidRequest(
            "cursor is ahead of what this deployment has taken in; it must be one that was made here",
            field="cursor",
        )
    kept_from = max(since.kept_from, ledger.keeping.first_day(data_type) or since.kept_from)
    wanted: dict[date, Wanted] = {}
    for mark in marks:
        for day, rows in ledger.rows_taken(data_type, mark, days.watermark).items():
            if day >= kept_from and since.after(data_type, day) == mark:
                wanted[day] = Wanted(days[day], mark, rows, exact=not days[day].erasures)
    return Look(data_type, days.watermark, dict(sorted(wanted.items())))


def still_kept(ledger: Ledger, look: Look) -> bool:
    """Whether none of its days was dropped meanwhile: what is left of one is not what was there."""
    first = ledger.keeping.first_day(look.data_type)
    return first is None or all(day >= first for day in look.days)


def erasures(looks: Iterable[Look]) -> dict[tuple[str, date], int]:
    """How often people were erased from each day, as of the looks."""
    return {
        (look.data_type, day): wanted.state.erasures for look in looks for day, wanted in look.days.items()
    }


def erasures_now(ledger: Ledger, looks: Iterable[Look]) -> dict[tuple[str, date], int]:
    """How often people were erased by now from each day of the looks."""
    counted: dict[tuple[str, date], int] = {}
    for one in looks:
        if one.days:
            now = ledger.read_days(one.data_type, min(one.days), max(one.days))
            counted |= {(one.data_type, day): now[day].erasures for day in one.days}
    return counted
