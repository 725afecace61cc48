"""Backfill: days of exports asked for in Dagster, by its real web server and daemon, from request to done."""

import shutil
import time
from datetime import date, timedelta
from pathlib import Path
from statistics import median

from benchmarks.inputs import DATA_TYPE, TABLE, Input, many_days, sampled_day
from benchmarks.plan import Plan
from benchmarks.report import Section, at_most
from export_pipeline.days import days_between, utc_now
from export_pipeline.exports import live_daily, verify
from export_pipeline.settings import variable
from export_pipeline_tests.integration import queries
from export_pipeline_tests.integration.stack import Stack, eventually, running

_FORMAT = "jsonl"
_ASSET = f"{TABLE}_{_FORMAT}"
_WANTED_SECONDS = 75
_PATIENCE_SECONDS = 1200
_LAST_HOUR = 23


def run(plan: Plan) -> list[Section]:
    """The same backfill several times, the exports removed in between."""
    end = utc_now().date() - timedelta(days=10)
    base = sampled_day(plan.inputs, plan.small_rows)
    given = many_days(plan.inputs, base, plan.backfill_days, plan.rows_a_day, end)
    days = list(days_between(end - timedelta(days=given.days - 1), end))
    shutil.rmtree(given.home / "dagster", ignore_errors=True)
    environment = {
        variable("first_day"): str(days[0] - timedelta(days=1)),
        # The schedule would export the days before today meanwhile.
        variable("export_hour"): str(_LAST_HOUR),
    }
    with running(given.home, environment) as stack:
        eventually("all days are shown", lambda: _all_shown(stack, days), _PATIENCE_SECONDS)
        seconds = [_backfill(stack, given, days) for _ in range(plan.rounds)]
        runs = sum(1 for run in queries.runs(stack) if run["tags"].get("dagster/backfill"))
    rows = [
        [f"{given.days} days, {given.rows:,} rows", *(f"{median(seconds):.1f}", f"{runs / plan.rounds:.0f}")]
    ]
    work = f"Backfill of {given.days} days of {plan.rows_a_day:,} events"
    notes = [
        f"Each of the {plan.rounds} times: {', '.join(f'{each:.1f} s' for each in seconds)}; "
        "all days verified."
    ]
    return [
        Section(
            "Backfill: JSONL.gz, from the request to done",
            ["What", "seconds", "runs"],
            rows,
            notes,
            [at_most(work, _WANTED_SECONDS, median(seconds), "s")],
        )
    ]


def _all_shown(stack: Stack, days: list[date]) -> bool:
    return set(map(str, days)) <= set(queries.shown(stack, TABLE))


def _backfill(stack: Stack, given: Input, days: list[date]) -> float:
    shutil.rmtree(given.settings.exports, ignore_errors=True)
    began = time.perf_counter()
    backfill = queries.backfill(stack, [_ASSET], [str(day) for day in days])

    def status() -> str | None:
        now = queries.backfill_status(stack, backfill)
        return now if now.startswith("COMPLETED") or now in ("FAILED", "CANCELED") else None

    ended = eventually("the end of the backfill", status, _PATIENCE_SECONDS)
    seconds = time.perf_counter() - began
    assert ended == "COMPLETED_SUCCESS", f"the backfill ended as {ended}"
    _check(given, days)
    return seconds


def _check(given: Input, days: list[date]) -> None:
    report = verify(Path(given.settings.exports, "daily"))
    assert report.ok, report.problems
    assert report.exports == len(days)
    exports = [live_daily(given.settings, DATA_TYPE, _FORMAT, day) for day in days]
    assert sum(export.rows for export in exports if export) == given.rows
