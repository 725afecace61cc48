"""Privacy: one person's access export out of 90 days."""

import shutil
from typing import Any

import duckdb

from benchmarks.inputs import DAY, Input, deployment, many_days, now_after, sampled_day
from benchmarks.measuring import alternate, measure, typical
from benchmarks.person import by_query, typical_user
from benchmarks.plan import Plan
from benchmarks.report import Section, at_most
from export_pipeline.ledger import Ledger
from export_pipeline.privacy.access import Access
from export_pipeline.sql import parquet
from export_pipeline.store import Store
from export_pipeline.store.tables import TABLE_OF, arrow_schema

LINKS = "users/devices"
WANTED_SECONDS = 2.0


def run(plan: Plan) -> list[Section]:
    """From the request to the published archive, beside only selecting the rows from every file."""
    base = sampled_day(plan.inputs, plan.small_rows)
    given = many_days(plan.inputs, base, plan.person_days, plan.rows_a_day, DAY)
    link(given)
    home, user = str(given.home), typical_user(given)
    calls = {
        "access export": lambda: measure(access_export, home=home, user=user),
        "select over all files": lambda: measure(by_query, home=home, user=user),
    }
    found = {name: typical(each) for name, each in alternate(calls, plan.rounds).items()}
    shutil.rmtree(given.settings.exports)
    rows = [
        [name, f"{m.result[0]:,}", f"{m.wall:.2f}", f"{m.cpu:.2f}", f"{m.peak / 1e6:,.0f} MB"]
        for name, m in found.items()
    ]
    title = f"One person over {given.days} days of {plan.rows_a_day:,}"
    target = at_most(f"access export, {title.lower()}", WANTED_SECONDS, found["access export"].wall, "s")
    headings = ["How", "rows", "seconds", "CPU s", "peak memory"]
    notes = ["An access export finds, formats, packs, reads back and publishes what it selects."]
    return [Section(title, headings, rows, notes, [target])]


def access_export(home: str, user: str) -> tuple[int, int]:
    """The rows shown and withheld of ``user``'s archive."""
    settings = deployment(home)
    access = Access(settings, Store(settings), Ledger(settings), clock=lambda: now_after(DAY))
    job = access.make(user, "command")
    return job.rows or 0, job.withheld or 0


def link(given: Input) -> None:
    """Link every user to the devices of their events, once."""
    store = Store(given.settings)
    if store.files(TABLE_OF[LINKS]):
        return
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        links: Any = connection.sql(
            "select userId, deviceId, min(timestamp) as linkedAt, 1::bigint as batchSequence "
            f"from {parquet(given.files)} where starts_with(userId, 'user_') and deviceId is not null "
            "group by userId, deviceId order by userId, deviceId"
        ).to_arrow_table()
    store.append(TABLE_OF[LINKS], [links.cast(arrow_schema(LINKS))], {"batch": "links"})
