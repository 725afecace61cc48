"""A small bar chart for a page: no script, its colours and size those of the page."""

from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta

_MOST_BARS = 92
_HEIGHT = 120


def chart(days: Mapping[date, int]) -> str:
    """Counts by day as a bar chart, an inline SVG in HTML; of many days a bar stands for several."""
    first, last = min(days), max(days)
    step = (last - first).days // _MOST_BARS + 1
    bars = Counter[int]()
    for day, count in days.items():
        bars[(day - first).days // step] += count
    most, places = max(bars.values()), (last - first).days // step + 1
    shapes = []
    for place, count in sorted(bars.items()):
        height = max(1.5, _HEIGHT * count / most)
        begin = first + timedelta(days=place * step)
        shapes.append(
            f"<rect x='{place * 10 + 1}' y='{_HEIGHT - height:.1f}' width='8' height='{height:.1f}'>"
            f"<title>{begin}{f' and {step - 1} more days' if step > 1 else ''}: {count:,}</title></rect>"
        )
    told = f"{sum(bars.values()):,} events from {first} to {last}, at most {most:,} in a bar"
    every = "a day" if step == 1 else f"{step} days"
    return (
        f"<figure><svg role=img aria-label='{told}' viewBox='0 0 {places * 10} {_HEIGHT}' "
        f"preserveAspectRatio=none>{''.join(shapes)}</svg>"
        f"<figcaption class='axis soft'><span>{first}</span><span>a bar is {every}, the highest {most:,}"
        f"</span><span>{last}</span></figcaption></figure>"
    )
