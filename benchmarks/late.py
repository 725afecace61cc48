"""Late data: the next version of a day after 1 % more rows, and an increment of 1 %, against full exports."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.inputs import DATA_TYPE, DAY, add_rows, deployment, many_days, now_after, sampled_day
from benchmarks.measuring import Measured, measure, typical
from benchmarks.plan import Plan
from benchmarks.report import Section, megabytes
from export_pipeline.days import parse_instant
from export_pipeline.exports import export_day, parse_request, write_export
from export_pipeline.exports.daily import daily_folder
from export_pipeline.ledger import Ledger
from export_pipeline.store import Store

_DAYS = 7
_SHARE = 100


def run(plan: Plan) -> list[Section]:
    """A week, exported in full; then a hundredth of its rows comes late, for all of its days."""
    base = sampled_day(plan.inputs, plan.small_rows)
    given = many_days(plan.outputs, base, _DAYS, plan.small_rows, DAY)
    home, now = str(given.home), now_after(DAY).isoformat()
    week = {"startDate": str(DAY - timedelta(days=_DAYS - 1)), "endDate": str(DAY)}
    taken: dict[str, list[Measured]] = {name: [] for name in ("first", "next", "full", "increment")}
    try:
        for number in range(plan.rounds):
            shutil.rmtree(daily_folder(given.settings, DATA_TYPE, "jsonl", DAY), ignore_errors=True)
            taken["first"].append(measure(day_exported, home=home, now=now))
            taken["full"].append(measure(exported, home=home, now=now, values=week))
            cursor = taken["full"][-1].result["cursor"]
            for offset in range(_DAYS):
                rows = max(1, plan.small_rows // _SHARE)
                add_rows(given.settings, base, rows, DAY - timedelta(days=offset), f"_late{number}")
            taken["next"].append(measure(day_exported, home=home, now=now))
            taken["increment"].append(measure(exported, home=home, now=now, values={"cursor": cursor}))
    finally:
        shutil.rmtree(plan.outputs, ignore_errors=True)
    found = {name: typical(measured) for name, measured in taken.items()}
    lines = {
        "a day in full": ("first", "first"),
        "its next version after 1 % late rows": ("next", "first"),
        f"{_DAYS} days in full": ("full", "full"),
        "an increment of 1 % of them": ("increment", "full"),
    }
    return [
        Section(
            "Late data",
            ["What", "rows", "seconds", "CPU s", "of full", "read"],
            [_line(what, found[name], found[full]) for what, (name, full) in lines.items()],
        )
    ]


def _line(what: str, one: Measured, full: Measured) -> list[str]:
    share = f"{one.wall / full.wall:.2f}"
    read = megabytes(one.result["read"])
    return [what, f"{one.result['rows']:,}", f"{one.wall:.2f}", f"{one.cpu:.2f}", share, read]


def day_exported(home: str, now: str) -> dict[str, Any]:
    """The daily export of the last day, its rows and the bytes that were read."""
    settings, before = deployment(home), _read()
    made = export_day(
        DATA_TYPE,
        "jsonl",
        DAY,
        settings=settings,
        store=Store(settings),
        ledger=Ledger(settings),
        now=parse_instant(now, "now"),
    )
    return {"rows": made.rows, "read": _read() - before}


def exported(home: str, now: str, values: dict[str, Any]) -> dict[str, Any]:
    """An export of what ``values`` ask for: its rows, its cursor, and the bytes that were read."""
    settings, instant, before = deployment(home), parse_instant(now, "now"), _read()
    out = Path(home).with_name("late-out")
    made = write_export(
        parse_request(values, now=instant, settings=settings),
        out,
        settings=settings,
        store=Store(settings),
        ledger=Ledger(settings),
        now=instant,
        overwrite=True,
    )
    return {"rows": made.row_count, "cursor": made.cursor, "read": _read() - before}


def _read() -> int:
    """Bytes that this process has read so far, from the disk or its cache; reading back is among them."""
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counters["rchar"])
