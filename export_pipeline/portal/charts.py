"""Charts of a quantity over time as places in a drawing, and the words beside them; templates draw them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from export_pipeline.days import days_between
from export_pipeline.portal.bins import Bin
from export_pipeline.retention.metrics import DayTotals

WIDTH, HEIGHT = 400, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 8, 10, 20
_MOST_DATES = 5
_MOST_DAYS_NAMED = 200
"""Over more, months and years are named below a chart."""


@dataclass(frozen=True)
class Quantity:
    """Something that is charted: ``of`` gives its value on a day, ``over`` that of several days, which is
    their ``sum_up``; its axis has round numbers of ``unit``."""

    name: str
    title: str
    note: str
    of: Callable[[DayTotals], float | None]
    over: Callable[[Sequence[DayTotals]], float | None]
    shown: Callable[[float | None], str]
    bars: bool = False
    unit: float = 1

    @property
    def sum_up(self) -> str:
        """What its value over several days is of those of the days."""
        return "in total" if self.bars else "on average"


@dataclass(frozen=True)
class Tick:
    """A label on an axis and where it is."""

    at: float
    label: str


@dataclass(frozen=True)
class Mark:
    """The value of a bin: the middle of its column, where it reaches, and what it says."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Chart:
    """A drawing ``WIDTH`` by ``HEIGHT``; ``base`` is where zero is, ``lines`` are points of unbroken bins."""

    quantity: Quantity
    overall: str
    marks: tuple[Mark, ...]
    lines: tuple[str, ...]
    rows: tuple[tuple[str, str], ...]
    values: tuple[Tick, ...]
    dates: tuple[Tick, ...]
    bar: float
    base: float = HEIGHT - _BOTTOM
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    width: int = WIDTH
    height: int = HEIGHT


def _plays(days: Sequence[DayTotals]) -> float:
    return float(sum(day.plays for day in days))


def _rate(of: Callable[[DayTotals], float | None]) -> Callable[[Sequence[DayTotals]], float | None]:
    """A rate over several days: each counts as often as something was played."""

    def over(days: Sequence[DayTotals]) -> float | None:
        known = [(rate, day.plays) for day in days if (rate := of(day)) is not None]
        plays = sum(count for _, count in known)
        return sum(rate * count for rate, count in known) / plays if plays else None

    return over


def count(value: float | None) -> str:
    """A number in full."""
    return "–" if value is None else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """A share."""
    return "–" if value is None else f"{100 * value:.1f} %"


def hours(value: float | None) -> str:
    """Seconds as hours."""
    return "–" if value is None else f"{value / 3600:,.1f} h"


QUANTITIES = (
    Quantity("plays", "Plays", "videos that began", lambda day: day.plays, _plays, count, bars=True),
    Quantity(
        "completionRate",
        "Completion rate",
        "completions for each play",
        lambda day: day.completion_rate,
        _rate(lambda day: day.completion_rate),
        percent,
    ),
    Quantity(
        "watchTime",
        "Watch time",
        "hours watched",
        lambda day: day.watch_time,
        lambda days: sum(day.watch_time for day in days),
        hours,
        bars=True,
        unit=3600,
    ),
    Quantity(
        "rebufferRate",
        "Rebuffer rate",
        "interruptions for each play",
        lambda day: day.rebuffer_rate,
        _rate(lambda day: day.rebuffer_rate),
        percent,
    ),
    Quantity(
        "adClicks",
        "Ad clicks",
        "clicks on ads",
        lambda day: day.ad_clicks,
        lambda days: sum(day.ad_clicks for day in days),
        count,
        bars=True,
    ),
)


def chart(quantity: Quantity, bins: Sequence[Bin], totals: Sequence[DayTotals]) -> Chart:
    """The chart of a quantity over ``bins``; one of which no day is in ``totals`` is a gap."""
    by_day = {total.day: total for total in totals}
    held = {
        each: [by_day[day] for day in days_between(each.first, each.last) if day in by_day] for each in bins
    }
    values = {each: quantity.over(days) for each, days in held.items() if days}
    most = max((value for value in values.values() if value is not None), default=0.0)
    top = _ceiling(most / quantity.unit) * quantity.unit
    step = (WIDTH - _LEFT - _RIGHT) / max(len(bins), 1)
    height = HEIGHT - _TOP - _BOTTOM
    places = {each: _LEFT + (place + 0.5) * step for place, each in enumerate(bins)}
    marks = {
        each: Mark(
            round(places[each], 1),
            round(HEIGHT - _BOTTOM - value / top * height, 1),
            f"{each.label}: {quantity.shown(value)}",
        )
        for each in bins
        if (value := values.get(each)) is not None
    }
    lines: list[list[str]] = [[]]
    for each in bins:
        if each in marks:
            lines[-1].append(f"{marks[each].x},{marks[each].y}")
        elif lines[-1]:
            lines.append([])
    every = -(-len(bins) // _MOST_DATES)
    dated = "%d %b" if len(bins) < 2 or (bins[-1].first - bins[0].first).days < _MOST_DAYS_NAMED else "%b %y"
    return Chart(
        quantity,
        quantity.shown(quantity.over(totals) if totals else None),
        tuple(marks.values()),
        tuple(" ".join(line) for line in lines if line),
        tuple((each.label, quantity.shown(value)) for each, value in values.items()),
        tuple(
            Tick(round(HEIGHT - _BOTTOM - share * height, 1), _short(share * top, quantity))
            for share in (0.0, 0.5, 1.0)
        ),
        tuple(Tick(round(places[each], 1), f"{each.first:{dated}}") for each in bins[every // 2 :: every]),
        round(max(step * 0.7, 1.0), 1),
    )


def _ceiling(value: float) -> float:
    """A round number not under ``value``, for the top of a scale."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * times for times in (1, 2, 3, 4, 5, 6, 8, 10) if unit * times >= value * 0.999999)


def _short(value: float, quantity: Quantity) -> str:
    if quantity.shown is percent:
        return f"{100 * value:.3g} %"
    if quantity.shown is hours:
        return f"{value / 3600:.3g} h"
    if value >= 1000:
        return f"{value / 1000:.3g}k" if value < 1e6 else f"{value / 1e6:.3g}M"
    return f"{value:.3g}"
