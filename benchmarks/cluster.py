"""A Dask cluster: a day exported from and to S3, its windows made by threads or by 1, 2 and 4 workers.

Everything is on this machine, so workers, scheduler and object store share its cores, and no network is
between: more workers than cores show what a cluster costs, not what it gains.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.inputs import Input, sampled_day
from benchmarks.measuring import Measured, alternate, measure, typical
from benchmarks.objects import bucket, exported, stored_day
from benchmarks.plan import Plan
from benchmarks.processes import Use, use
from benchmarks.report import Section, megabytes
from export_pipeline.settings import variable

_THREADS = "threads"
_WORKERS = (1, 2, 4)

Variables = Mapping[str, str]


@dataclass(frozen=True)
class _Beside:
    """What other processes used during a call: the scheduler and the object store, and all workers."""

    scheduler: Use | None
    workers: tuple[Use, ...]
    store: Use


def run(plan: Plan) -> Iterator[Section]:
    """All ways in turn; nothing is measured where SeaweedFS or Dask is not installed."""
    if not importlib.util.find_spec("distributed"):
        print("cluster: left out, the extra distributed is not installed", file=sys.stderr)
        return
    base = sampled_day(plan.inputs, plan.rows)
    with bucket(plan, "cluster") as there:
        if there is None:
            return
        variables, store = there
        given = {
            variable("home"): str(plan.outputs / "home-cluster"),
            variable("first_day"): "2020-01-01",
            **variables,
        }
        day = str(base.end)
        measure(stored_day, variables=given, base=str(base.home), rows=base.rows, day=day)
        beside: dict[str, list[_Beside]] = {}
        ways = {_THREADS: 0, **{_named(count): count for count in _WORKERS}}
        calls = {
            way: lambda way=way, count=count: _exported(given, day, count, store, beside.setdefault(way, []))
            for way, count in ways.items()
        }
        found = {way: typical(each) for way, each in alternate(calls, plan.rounds).items()}
    if any(each.result != found[_THREADS].result for each in found.values()):
        raise AssertionError("a cluster makes other bytes than threads")
    yield _section(base, found, {way: each[-1] for way, each in beside.items()})


def _named(workers: int) -> str:
    return f"{workers} worker{'s' if workers > 1 else ''}"


def _exported(given: Variables, day: str, workers: int, store: int, beside: list[_Beside]) -> Measured:
    """Export the day by ``workers`` of a new cluster, or by threads if none; what else was used is noted."""
    from export_pipeline_tests import dask

    before = use(store).cpu
    with ExitStack() as stack:
        variables = dict(given)
        if workers:
            cluster = stack.enter_context(dask.running(workers))
            variables[variable("scheduler")] = cluster.address
        measured = measure(exported, variables=variables, day=day)
        after = use(store)
        beside.append(
            _Beside(
                use(cluster.scheduler.pid) if workers else None,
                tuple(use(process.pid) for process in cluster.workers) if workers else (),
                Use(after.cpu - before, after.peak, after.held),
            )
        )
    return measured


def _section(base: Input, found: Mapping[str, Measured], beside: Mapping[str, _Beside]) -> Section:
    cores = os.cpu_count() or 1
    rows = []
    for way, measured in found.items():
        others = beside[way]
        workers = sum(each.cpu for each in others.workers)
        scheduler = others.scheduler.cpu if others.scheduler else 0.0
        used = measured.cpu + workers + scheduler + others.store.cpu
        rows.append(
            [
                way,
                f"{measured.wall:.2f}",
                f"{base.rows / measured.wall / 1000:,.0f}k",
                f"{found[_THREADS].wall / measured.wall:.2f}",
                _cell(measured.cpu, measured.peak),
                _cell(scheduler, others.scheduler.peak) if others.scheduler else "–",
                _cell(workers, max(each.peak for each in others.workers)) if others.workers else "–",
                _cell(others.store.cpu, others.store.peak),
                f"{100 * used / cores / measured.wall:.0f} %",
            ]
        )
    return Section(
        f"A Dask cluster on this machine, from and to S3, {base.rows:,} rows as JSONL.gz",
        [
            "Windows made by",
            "seconds",
            "rows/s",
            "times threads",
            "this process: CPU s, peak",
            "scheduler",
            "workers, largest",
            "object store",
            f"of {cores} cores",
        ],
        rows,
        [
            "The bytes are the same. Scheduler and workers are new for each export, so their start, about 2 "
            "CPU seconds each, is in theirs.",
        ],
    )


def _cell(cpu: float, peak: int) -> str:
    return f"{cpu:.1f}, {megabytes(peak)}"
