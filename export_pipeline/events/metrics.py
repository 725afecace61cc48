"""The daily metrics, as data: what is counted by day, content and device type, and how it is defined.

The columns of the table, the SQL's names, the documentation in Dagster and that of the reader come from here.
"""

from dataclasses import dataclass
from typing import Literal

OTHER = "other"
"""The content, or the device type, of what is merged because too few people are behind it."""


@dataclass(frozen=True)
class Metric:
    """A column of the daily metrics; ``unit`` is ``s`` or ``ms``, None for counts and rates.

    ``nullable``: there is no value where there is nothing to divide by or to measure.
    """

    name: str
    type: Literal["integer", "number"]
    description: str
    unit: str | None = None
    nullable: bool = False


METRICS: tuple[Metric, ...] = (
    Metric("impressions", "integer", "`impression` events of videos"),
    Metric("plays", "integer", "`playStart` events"),
    Metric("completions", "integer", "`completion` events of videos; a looped view has one"),
    Metric(
        "uniqueViewers",
        "integer",
        "Different `userId`s with a `playStart`, `watchProgress` or `completion`. Exact in a cell; sums "
        "over cells count a person once in each",
    ),
    Metric(
        "watchTime",
        "number",
        "Seconds watched. In each session, for each video, the largest of: the sum of `watchTime` of "
        "completions, the sum of `watchTimeOnFrom` of swipes away from it, and the furthest `currentTime` of "
        "`watchProgress`; so what several events tell is not counted twice",
        unit="s",
    ),
    Metric("completionRate", "number", "completions / plays", nullable=True),
    Metric("shares", "integer", "`share` events"),
    Metric("startupTimeP50", "number", "Median of `startupTime` of plays", unit="ms", nullable=True),
    Metric("startupTimeP95", "number", "95th percentile of `startupTime` of plays", unit="ms", nullable=True),
    Metric("rebuffers", "integer", "`rebuffer` events"),
    Metric("rebufferRate", "number", "rebuffers / plays", nullable=True),
    Metric("rebufferDuration", "number", "Mean `duration` of rebuffers", unit="ms", nullable=True),
    Metric("errors", "integer", "`error` events"),
    Metric("adImpressions", "integer", "`impression` events of ads"),
    Metric("adCompletions", "integer", "`completion` events of ads that say `didComplete`"),
    Metric("adClicks", "integer", "`click` events of ads"),
)
"""In the order of the columns. Durations are whole milliseconds of numbers that are not negative; a field
of another type counts as absent. Percentiles are interpolated."""

KEYS: tuple[tuple[str, str], ...] = (
    ("date", "The day (UTC) on which the events happened"),
    (
        "contentId",
        f"The video; `{OTHER}` for events without one, and for what is merged: cells of fewer viewers than "
        "the setting `metrics_min_viewers`",
    ),
    (
        "deviceType",
        "`ios`, `android` or `web`. If what is merged still has too few viewers in one of them, all that is "
        f"merged is one cell, with `{OTHER}` here too",
    ),
)
