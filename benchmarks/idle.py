"""The whole stack with nothing to do: what each part of it holds and spends, on S3, PostgreSQL and Dask.

Sensors and schedules look for work all the time; that is what is measured.
"""

import importlib.util
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from unittest import mock

from benchmarks.objects import bucket
from benchmarks.plan import Plan
from benchmarks.processes import Use, family, use
from benchmarks.report import Section, megabytes
from benchmarks.serving import serving
from export_pipeline.days import utc_now
from export_pipeline.settings import variable

_PARTS = {
    "dagster-webserver": "Dagster web server",
    "dagster-daemon": "Dagster daemon",
    "dagster": "code locations",
    "serve": "API and portal",
    "postgres": "PostgreSQL",
    "server": "object store (SeaweedFS)",
    "distributed.cli.dask_scheduler": "Dask scheduler",
    "distributed.cli.dask_worker": "Dask workers",
}
"""Each part by a word of its command, the first that is in it."""
_OTHER = "everything else"
_WORKERS = 2
_LAST_HOUR = 23


def run(plan: Plan) -> Iterator[Section]:
    """Nothing is measured where SeaweedFS, PostgreSQL or Dask is not installed."""
    if not importlib.util.find_spec("distributed") or not _has_postgres():
        print("idle: left out, PostgreSQL or the extra distributed is not installed", file=sys.stderr)
        return
    from export_pipeline_tests import dask, postgres
    from export_pipeline_tests.integration.stack import running

    with bucket(plan, "idle") as there, ExitStack() as stack:
        if there is None:
            return
        server = stack.enter_context(postgres.running())
        home = plan.outputs / "idle"
        home.mkdir()
        given = {
            **there[0],
            variable("home"): str(home),
            variable("database"): server.new(),
            variable("scheduler"): stack.enter_context(dask.running(_WORKERS)).address,
            variable("first_day"): str(utc_now().date() - timedelta(days=2)),
            # The days before today are not exported meanwhile.
            variable("export_hour"): str(_LAST_HOUR),
        }
        # Dagster's own settings name variables of the environment, this process's too.
        stack.enter_context(mock.patch.dict(os.environ, given))
        stack.enter_context(serving(home, given))
        stack.enter_context(running(home, given))
        time.sleep(plan.poll_seconds)
        before, began = _uses(), time.monotonic()
        time.sleep(3 * plan.poll_seconds)
        after, seconds = _uses(), time.monotonic() - began
    yield _section(before, after, seconds)


def _has_postgres() -> bool:
    return bool(shutil.which("postgres") or list(Path("/usr/lib/postgresql").glob("*/bin/postgres")))


def _uses() -> dict[int, tuple[str, Use]]:
    """The processes that this one has started, and what they started: the part each is of, and its use."""
    found = {}
    for pid in family([os.getpid()]) - {os.getpid()}:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").split()
            found[pid] = _part(words), use(pid)
        except (FileNotFoundError, ProcessLookupError, StopIteration):
            continue  # it has just ended
    return found


def _part(words: list[str]) -> str:
    names = {Path(word).name.rstrip(":") for word in words}
    return next((part for word, part in _PARTS.items() if word in names), _OTHER)


def _section(
    before: Mapping[int, tuple[str, Use]], after: Mapping[int, tuple[str, Use]], seconds: float
) -> Section:
    processes: Counter[str] = Counter()
    held: Counter[str] = Counter()
    cpu: Counter[str] = Counter()
    for pid, (part, now) in after.items():
        processes[part] += 1
        held[part] += now.held
        # Microseconds, as counters count whole things.
        cpu[part] += round(1e6 * (now.cpu - (before[pid][1].cpu if pid in before else 0)))
    rows = [
        [part, f"{processes[part]}", megabytes(held[part]), f"{cpu[part] / 1e6 / seconds * 60:.1f}"]
        for part in (*_PARTS.values(), _OTHER)
        if processes[part]
    ]
    total = [f"{processes.total()}", megabytes(held.total()), f"{cpu.total() / 1e6 / seconds * 60:.1f}"]
    return Section(
        "The whole stack, idle",
        ["Part", "processes", "memory", "CPU s a minute"],
        [*rows, ["together", *total]],
        [f"Over {seconds:.0f} s. Memory that processes share is counted once, a part of it with each."],
    )
