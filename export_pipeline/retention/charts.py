"""A picture of the daily metrics over the days, as SVG, in a line of Markdown that any viewer shows."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape

WIDTH, PANEL, GAP, LEFT, RIGHT, TOP, BOTTOM = 720, 96, 34, 64, 16, 26, 24
_INK, _PALE, _GRID = "#1f2430", "#6b7280", "#e5e7eb"


@dataclass(frozen=True)
class Panel:
    """One quantity over the days; ``values`` has one for each day, None where there is none."""

    title: str
    colour: str
    values: Sequence[float | None]
    percent: bool = False
    bars: bool = False


def svg(days: Sequence[date], panels: Sequence[Panel]) -> str:
    """The panels below each other, over the same days, oldest first; each from zero to a round number."""
    height = TOP + len(panels) * (PANEL + GAP) - GAP + BOTTOM + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="system-ui, sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, TOP + number * (PANEL + GAP), len(days))
    return "".join([*parts, *_axis(days, height - BOTTOM + 8), "</svg>"])


def _panel(panel: Panel, top: float, count: int) -> list[str]:
    most = _ceiling(max((value for value in panel.values if value is not None), default=0.0))
    base = top + PANEL
    last = next((value for value in reversed(panel.values) if value is not None), None)
    parts = [
        f'<text x="{LEFT}" y="{top - 9}" fill="{_INK}" font-weight="600">{escape(panel.title)}</text>',
        f'<text x="{WIDTH - RIGHT}" y="{top - 9}" fill="{panel.colour}" text-anchor="end" '
        f'font-weight="600">{_shown(last, panel.percent)}</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = base - share * PANEL
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{_GRID}"/>')
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" fill="{_PALE}" text-anchor="end">'
            f"{_shown(share * most, panel.percent)}</text>"
        )
    points = [
        (_x(place, count), base - value / most * PANEL)
        for place, value in enumerate(panel.values)
        if value is not None
    ]
    if panel.bars:
        width = max(2.0, 0.7 * (WIDTH - LEFT - RIGHT) / max(count, 1))
        parts += [
            f'<rect x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="{base - y:.1f}" rx="1.5" '
            f'fill="{panel.colour}"/>'
            for x, y in points
        ]
    else:
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{panel.colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{panel.colour}"/>' for x, y in points]
    return parts


def _ceiling(value: float) -> float:
    """A round number not under ``value``, for the top of a scale."""
    if value <= 0:
        return 1.0
    step = 10.0 ** math.floor(math.log10(value))
    return next(step * times for times in (1, 2, 2.5, 4, 5, 6, 8, 10) if step * times >= value * 0.999999)


def _x(place: int, count: int) -> float:
    """The middle of a day's column."""
    return LEFT + (place + 0.5) * (WIDTH - LEFT - RIGHT) / max(count, 1)


def _axis(days: Sequence[date], y: float) -> list[str]:
    step = max(1, -(-len(days) // 8))
    places = range(len(days) - 1, -1, -step)
    return [
        f'<text x="{_x(place, len(days)):.1f}" y="{y}" fill="{_PALE}" text-anchor="middle">'
        f"{days[place]:%d %b}</text>"
        for place in places
    ]


def _shown(value: float | None, percent: bool) -> str:
    if value is None:
        return "none"
    if percent:
        return f"{100 * value:.1f} %"
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def image(drawing: str, words: str) -> str:
    """An SVG as a line of Markdown; ``words`` are for who cannot see it."""
    data = base64.b64encode(drawing.encode()).decode()
    return f"![{words}](data:image/svg+xml;base64,{data})"
