"""Planning: a day's rows cut into windows, by their content alone (contract, section 3).

A window is the unit of compression: its rows are one gzip member. Windows never cross midnight. Where they
are cut depends on the rows' instants and event ids only, never on files, workers or memory, so
that the same rows give the same bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from export_pipeline.days import midnight
from export_pipeline.exports.scanning import Scan, between, reading

_SECOND = timedelta(seconds=1)
_MILLISECOND = timedelta(milliseconds=1)
_SAMPLES_A_WINDOW = 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """Rows with ``begin <= timestamp < end`` and, where ids are given, ``first_id <= eventId < last_id``.

    ``rows`` is how many there are; None where an instant was cut by ids without counting each piece.
    """

    begin: datetime
    end: datetime
    rows: int | None
    first_id: str | None = None
    last_id: str | None = None

    @property
    def by_id(self) -> bool:
        """Whether the window is a piece of a single instant."""
        return self.first_id is not None or self.last_id is not None


@dataclass(frozen=True)
class DayPlan:
    """The windows of a day, in order, and the rows they hold together."""

    windows: tuple[Window, ...]
    rows: int


def plan_day(scan: Scan, window_rows: int) -> DayPlan:
    """The windows of ``scan``'s day, each of at most ``window_rows`` rows where instants differ.

    Consecutive seconds are grouped as long as they fit. A second that does not fit alone is cut into
    milliseconds, and a single instant that does not fit into ranges of event ids, near enough in size.
    """
    if not scan.files:
        return DayPlan((), 0)
    with reading(scan):
        seconds, counts = _histogram(scan, None, _SECOND)
        rows = int(counts.sum())
        heavy = np.flatnonzero(counts > window_rows)
        windows: list[Window] = []
        begin = 0
        for at in [*heavy.tolist(), len(counts)]:
            windows += _grouped(scan, seconds[begin:at], counts[begin:at], _SECOND, window_rows)
            if at < len(counts):
                windows += _within_second(scan, int(seconds[at]), window_rows)
            begin = at + 1
    return DayPlan(tuple(windows), rows)


def _within_second(scan: Scan, second: int, window_rows: int) -> Iterator[Window]:
    start = midnight(scan.day) + second * _SECOND
    units, counts = _histogram(scan, start, _MILLISECOND)
    begin = 0
    for at in [*np.flatnonzero(counts > window_rows).tolist(), len(counts)]:
        yield from _grouped(scan, units[begin:at], counts[begin:at], _MILLISECOND, window_rows)
        if at < len(counts):
            yield from _within_instant(scan, midnight(scan.day) + int(units[at]) * _MILLISECOND, window_rows)
        begin = at + 1


def _within_instant(scan: Scan, begin: datetime, window_rows: int) -> Iterator[Window]:
    # A sample chosen by the ids themselves stands for all of them in little memory.
    modulus = max(1, window_rows // _SAMPLES_A_WINDOW)
    step = max(1, window_rows // modulus)
    end = begin + _MILLISECOND
    with reading(scan) as connection:
        cuts = [
            cut
            for (cut,) in connection.execute(
                f"select eventId from (select eventId, row_number() over (order by eventId) as place "
                f"from {scan.source()} where {between(begin, end)} "
                f"and md5_number_lower(eventId) % {modulus} = 0) where place % {step} = 0 order by eventId",
                dict(scan.parameters()),
            ).fetchall()
        ]
    for first, last in zip([None, *cuts], [*cuts, None], strict=True):
        yield Window(begin, end, None, first, last)


def _histogram(scan: Scan, begin: datetime | None, unit: timedelta) -> tuple[Longs, Longs]:
    """Units since midnight that hold rows, and how many: of the day, or of the second at ``begin``."""
    within = f"where {between(begin, begin + _SECOND)}" if begin else ""
    midnight_us = (midnight(scan.day) - _EPOCH) // timedelta(microseconds=1)
    unit_us = unit // timedelta(microseconds=1)
    with reading(scan) as connection:
        found = connection.execute(
            f"select (epoch_us(timestamp) - {midnight_us}) // {unit_us} as unit, count(*) as rows "
            f"from {scan.source()} {within} group by unit order by unit",
            dict(scan.parameters()),
        ).fetchnumpy()
    return np.asarray(found["unit"], np.int64), np.asarray(found["rows"], np.int64)


def _grouped(scan: Scan, units: Longs, counts: Longs, unit: timedelta, window_rows: int) -> Iterator[Window]:
    ends = np.cumsum(counts)
    start, done = 0, 0
    while start < len(units):
        stop = int(np.searchsorted(ends, done + window_rows, side="right"))
        origin = midnight(scan.day)
        yield Window(
            origin + int(units[start]) * unit,
            origin + (int(units[stop - 1]) + 1) * unit,
            int(ends[stop - 1]) - done,
        )
        start, done = stop, int(ends[stop - 1])
