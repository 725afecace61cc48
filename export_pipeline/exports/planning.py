"""Planning: a day's rows cut into windows, by their content alone (contract, section 3).

Windows never cross midnight. Where they are cut depends on the rows' instants and event ids only, never on
files, workers or memory, so that the same rows give the same bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from export_pipeline.days import midnight
from export_pipeline.exports.decoding import Longs, histogram
from export_pipeline.exports.scanning import Scan, between, reading
from export_pipeline.exports.windows import Window

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_MILLISECOND = timedelta(milliseconds=1)
_SAMPLES_A_WINDOW = 1024


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
        seconds, counts = histogram(scan, midnight(scan.day), _DAY, _SECOND)
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
    units, counts = histogram(scan, start, _SECOND, _MILLISECOND)
    units += second * (_SECOND // _MILLISECOND)
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
