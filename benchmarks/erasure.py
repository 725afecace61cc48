"""Erasure: one person and a hundred out of 90 days, against writing every file of the store again."""

import shutil
import time
from typing import Any

import duckdb
import pyarrow.parquet as pq

from benchmarks.inputs import DAY, TABLE, Input, deployment, many_days, now_after, sampled_day
from benchmarks.measuring import Measured, measure, typical
from benchmarks.plan import Plan
from benchmarks.privacy import link
from benchmarks.report import Section, at_most
from export_pipeline.ledger import Ledger
from export_pipeline.privacy.erasing import STEPS, take_step
from export_pipeline.privacy.erasing_store import erased
from export_pipeline.privacy.requests import request_erasures
from export_pipeline.sql import parquet
from export_pipeline.store import Store

WANTED_SECONDS = {1: 10.0, 100: 25.0}
_PROOF = ("scan", "certify")


def run(plan: Plan) -> list[Section]:
    """Other people in each round; the store is a deployment of its own, as what is erased others measure."""
    base = sampled_day(plan.inputs, plan.small_rows)
    given = many_days(plan.outputs, base, plan.person_days, plan.rows_a_day, DAY)
    try:
        link(given)
        # Every file in a deployment belongs to somebody.
        (given.home / "input.json").unlink()
        home, users = str(given.home), _users(given)
        every = typical([measure(write_all_again, home=home) for _ in range(plan.rounds)])
        found: dict[int, list[Measured]] = {people: [] for people in WANTED_SECONDS}
        for _ in range(plan.rounds):
            for people, measured in found.items():
                chosen = [users.pop() for _ in range(min(people, len(users) // 2))]
                measured.append(measure(erase, home=home, users=chosen))
        return [_section(given, plan, every, {people: typical(each) for people, each in found.items()})]
    finally:
        shutil.rmtree(plan.outputs, ignore_errors=True)


def _section(given: Input, plan: Plan, every: Measured, found: dict[int, Measured]) -> Section:
    rows, targets = [], []
    what = f"{given.days} days of {plan.rows_a_day:,}"
    for people, measured in found.items():
        proof = sum(measured.result["steps"][name] for name in _PROOF)
        erasing = measured.wall - proof
        rows.append(
            [
                f"erase {people}",
                f"{measured.result['rows']:,}",
                f"{erasing:.2f}",
                f"{measured.result['steps']['erase_store']:.2f}",
                f"{proof:.2f}",
                f"{measured.cpu:.2f}",
                f"{measured.peak / 1e6:,.0f} MB",
                f"{erasing / every.wall:.2f}",
            ]
        )
        targets.append(at_most(f"erase {people}, {what}", WANTED_SECONDS[people], erasing, "s"))
    written = [f"{every.wall:.2f}", "", "", f"{every.cpu:.2f}", f"{every.peak / 1e6:,.0f} MB", "1.00"]
    rows.append(["write every file again", f"{every.result:,}", *written])
    headings = ["What", "rows", "seconds", "in the store", "scan, apart", "CPU s", "peak memory", "ratio"]
    notes = ["Rows of an erasure are those removed; every text of every row is searched for the ids."]
    return Section(f"Erasure over {what}", headings, rows, notes, targets)


def erase(home: str, users: list[str]) -> dict[str, Any]:
    """Erase people in one pass; the seconds of each step, and the rows removed."""
    settings, now = deployment(home), now_after(DAY)
    store, ledger = Store(settings), Ledger(settings)
    requests = request_erasures(ledger, users, now=now, created_by="command")
    steps = {}
    for name in STEPS:
        began = time.perf_counter()
        take_step(settings, store, ledger, requests[0].id, name, now)
        steps[name] = time.perf_counter() - began
    return {"steps": steps, "rows": erased(ledger, requests[0].id)[TABLE].rows}


def write_all_again(home: str) -> int:
    """Read and write every file of the events, as they are laid out, one after the other; their rows."""
    settings = deployment(home)
    rows, place = 0, settings.tmp / "again.parquet"
    place.parent.mkdir(parents=True, exist_ok=True)
    for path in Store(settings).files(TABLE):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table, place, compression="zstd", compression_level=1, row_group_size=1 << 15)
        rows += table.num_rows
    place.unlink()
    return rows


def _users(given: Input) -> list[str]:
    """Identified users, those seen on the most days last."""
    with duckdb.connect() as connection:
        found = connection.execute(
            f"select userId from {parquet(given.files)} where starts_with(userId, 'user_') "
            "group by userId order by count(distinct timestamp::timestamp::date), hash(userId)"
        ).fetchall()
    return [str(user) for (user,) in found]
