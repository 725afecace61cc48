"""Metrics: the daily metrics of a large day, from its rows to the table."""

from functools import partial

from benchmarks.inputs import deployment, now_after, sampled_day
from benchmarks.measuring import alternate, measure, typical
from benchmarks.plan import Plan
from benchmarks.report import Section, megabytes
from export_pipeline.days import parse_day
from export_pipeline.ledger import Ledger
from export_pipeline.retention.metrics import compute_day
from export_pipeline.store import Store


def run(plan: Plan) -> list[Section]:
    """Of a day, and of one with fewer rows."""
    given = [sampled_day(plan.inputs, rows) for rows in (plan.small_rows, plan.rows)]
    calls = {
        f"{each.rows:,}": partial(measure, computed, home=str(each.home), day=str(each.end)) for each in given
    }
    found = {rows: typical(measured) for rows, measured in alternate(calls, plan.rounds).items()}
    rows = [
        [rows, f"{m.result:,}", f"{m.wall:.2f}", f"{m.cpu:.2f}", megabytes(m.peak)]
        for rows, m in found.items()
    ]
    return [
        Section(
            "Daily metrics of a day", ["Rows of the day", "cells", "seconds", "CPU s", "peak memory"], rows
        )
    ]


def computed(home: str, day: str) -> int:
    """Compute the metrics of a day; how many cells they have."""
    settings = deployment(home)
    date = parse_day(day, "day")
    made = compute_day(settings, Store(settings), Ledger(settings), date, now_after(date), again=True)
    return made.cells
