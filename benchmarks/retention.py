"""Retention: ten days of ninety dropped, from the tables and from the disk."""

import shutil
from datetime import timedelta

from benchmarks.inputs import DAY, TABLE, deployment, many_days, now_after, sampled_day
from benchmarks.measuring import Measured, measure, typical
from benchmarks.plan import Plan
from benchmarks.report import Section, at_most
from export_pipeline.days import parse_instant
from export_pipeline.ledger import Ledger
from export_pipeline.retention import retain
from export_pipeline.store import Store

_DAYS = 10
_WANTED_SECONDS = 2


def run(plan: Plan) -> list[Section]:
    """The oldest days go, and in the next round the oldest of the rest."""
    base = sampled_day(plan.inputs, plan.small_rows)
    # A deployment of its own: what is dropped here, others measure on.
    given = many_days(plan.outputs, base, plan.person_days, plan.rows_a_day, DAY)
    days = min(_DAYS, max(1, plan.person_days // (plan.rounds + 1)))
    first = given.end - timedelta(days=given.days - 1)
    kept = given.settings.raw_retention_days
    measured: list[Measured] = []
    try:
        for number in range(plan.rounds):
            now = now_after(first + timedelta(days=kept + days * (number + 1) - 2))
            measured.append(measure(dropped, home=str(given.home), now=now.isoformat()))
    finally:
        shutil.rmtree(plan.outputs, ignore_errors=True)
    found = typical(measured)
    what = f"{days} of {given.days} days of {plan.rows_a_day:,} rows"
    rows, files = found.result
    return [
        Section(
            "Retention",
            ["What", "rows", "files", "seconds", "CPU s"],
            [[what, f"{rows:,}", f"{files:,}", f"{found.wall:.2f}", f"{found.cpu:.2f}"]],
            targets=[at_most(what, _WANTED_SECONDS, found.wall, "s")],
        )
    ]


def dropped(home: str, now: str) -> tuple[int, int]:
    """A round of retention; the rows and files of events that went."""
    settings = deployment(home)
    removed = retain(settings, Store(settings), Ledger(settings), parse_instant(now, "now"))[TABLE]
    return removed.rows, removed.files
