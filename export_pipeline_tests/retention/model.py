"""The daily metrics of rows, computed one row at a time by their words: a second opinion on the SQL."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]
Cell = tuple[str, str]

WATCHING = ("playStart", "watchProgress", "completion")


def number(data: Mapping[str, Any], field: str, scale: int) -> int | None:
    value = data.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    return int(value * scale + 0.5)


def percentile(values: Iterable[int], share: float) -> float:
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def content_of(row: Row, data: Mapping[str, Any]) -> str:
    content = row["contentId"]
    if row["event"] == "swipe":
        content = data.get("fromContentId") or content
    return content or "other"


def shown_cells(viewers: Mapping[Cell, set[str]], least: int) -> dict[Cell, Cell]:
    """Where each cell is shown."""
    merged = {cell for cell, users in viewers.items() if cell[0] == "other" or len(users) < least}
    left: dict[str, set[str]] = defaultdict(set)
    for cell in merged:
        left[cell[1]] |= viewers[cell]
    alone = any(len(users) < least for users in left.values())
    return {
        cell: cell if cell not in merged else ("other", "other" if alone else cell[1]) for cell in viewers
    }


def metrics(events: list[Row], quality: list[Row], ads: list[Row], least: int) -> dict[Cell, dict[str, Any]]:
    viewers: dict[Cell, set[str]] = defaultdict(set)
    rows: list[tuple[str, Cell, Row, Mapping[str, Any]]] = []
    for data_type, of_type in (("events", events), ("quality", quality), ("ads", ads)):
        for row in of_type:
            counted = {
                "events": ("impression", "share", "swipe", *WATCHING),
                "quality": ("rebuffer", "error"),
                "ads": ("impression", "completion", "click"),
            }
            if row["event"] not in counted[data_type]:
                continue
            data = json.loads(row["data"])
            cell = (
                content_of(row, data) if data_type == "events" else row["contentId"] or "other",
                row["deviceType"],
            )
            rows.append((data_type, cell, row, data))
            users = viewers[cell]
            if data_type == "events" and row["event"] in WATCHING:
                users.add(row["userId"])
    place = shown_cells(viewers, least)

    found: dict[Cell, dict[str, Any]] = {}
    people: dict[Cell, set[str]] = defaultdict(set)
    startups: dict[Cell, list[int]] = defaultdict(list)
    rebuffers: dict[Cell, list[int]] = defaultdict(list)
    watched: dict[tuple[Cell, str, str | None], list[int]] = defaultdict(lambda: [0, 0, 0])
    names = {
        ("events", "impression"): "impressions",
        ("events", "playStart"): "plays",
        ("events", "completion"): "completions",
        ("events", "share"): "shares",
        ("quality", "rebuffer"): "rebuffers",
        ("quality", "error"): "errors",
        ("ads", "impression"): "adImpressions",
        ("ads", "click"): "adClicks",
    }
    for data_type, cell, row, data in rows:
        shown = place[cell]
        counts = found.setdefault(shown, dict.fromkeys([*names.values(), "adCompletions"], 0))
        if name := names.get((data_type, row["event"])):
            counts[name] += 1
        if data_type == "ads":
            counts["adCompletions"] += row["event"] == "completion" and data.get("didComplete") is True
        if data_type == "quality" and row["event"] == "rebuffer" and number(data, "duration", 1) is not None:
            rebuffers[shown].append(number(data, "duration", 1) or 0)
        if data_type != "events":
            continue
        if row["event"] in WATCHING:
            people[shown].add(row["userId"])
        if row["event"] == "playStart" and number(data, "startupTime", 1) is not None:
            startups[shown].append(number(data, "startupTime", 1) or 0)
        told = watched[cell, row["userId"], row["sessionId"]]
        if row["event"] == "completion":
            told[0] += number(data, "watchTime", 1000) or 0
        if row["event"] == "swipe":
            told[1] += number(data, "watchTimeOnFrom", 1000) or 0
        if row["event"] == "watchProgress":
            told[2] = max(told[2], number(data, "currentTime", 1000) or 0)
    seconds: dict[Cell, int] = defaultdict(int)
    for (cell, _, _), told in watched.items():
        seconds[place[cell]] += max(told)
    for shown, counts in found.items():
        plays = counts["plays"]
        counts["uniqueViewers"] = len(people[shown])
        counts["watchTime"] = seconds[shown] / 1000
        counts["completionRate"] = counts["completions"] / plays if plays else None
        counts["rebufferRate"] = counts["rebuffers"] / plays if plays else None
        times = rebuffers[shown]
        counts["rebufferDuration"] = sum(times) / len(times) if times else None
        counts["startupTimeP50"] = percentile(startups[shown], 0.5) if startups[shown] else None
        counts["startupTimeP95"] = percentile(startups[shown], 0.95) if startups[shown] else None
    return found
