"""Measuring: a function called in a process of its own, its wall time, CPU time and peak memory.

Owns what is inside a figure: the call, not the start of Python nor the imports. CPU time is that of all
threads and ended children; peak memory is that of the process, or of a child that needed more.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

STDERR = 2
ROOT = Path(__file__).resolve().parents[1]

Entry = Callable[..., Any]


@dataclass(frozen=True)
class Measured:
    """One call: seconds of wall time and CPU time, peak memory in bytes, and what it returned."""

    wall: float
    cpu: float
    peak: int
    result: Any = None


def measure(function: Entry, **arguments: Any) -> Measured:
    """Call a function of a module in a fresh process; arguments and result are plain JSON values.

    Raises:
        RuntimeError: if the process failed; its messages are on standard error.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "measured.json")
        name = f"{function.__module__}:{function.__qualname__}"
        command = [sys.executable, "-m", "benchmarks.measuring", name, json.dumps(arguments), str(answer)]
        if subprocess.run(command, cwd=ROOT, stdout=STDERR).returncode or not answer.exists():
            raise RuntimeError(f"{name} failed")
        return Measured(**json.loads(answer.read_text()))


def alternate(calls: Mapping[str, Callable[[], Measured]], rounds: int) -> dict[str, list[Measured]]:
    """The measurements of each call, made in turn, the order reversed from round to round."""
    found: dict[str, list[Measured]] = {name: [] for name in calls}
    for number in range(rounds):
        names = list(calls) if number % 2 == 0 else list(calls)[::-1]
        for name in names:
            found[name].append(calls[name]())
    return found


def typical(measurements: list[Measured]) -> Measured:
    """The median of wall and CPU time, the highest peak, and the last result."""
    return Measured(
        median(m.wall for m in measurements),
        median(m.cpu for m in measurements),
        max(m.peak for m in measurements),
        measurements[-1].result,
    )


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak() -> int:
    """The most memory this process, since it was started, or one of its children held at a time."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike ru_maxrss this does not begin with what the parent held when it forked.
        own = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return max(int(own.split()[1]) * 1024, children)
    return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, children)


def _main(name: str, arguments: str, answer: str) -> None:
    module, _, function = name.partition(":")
    entry = getattr(importlib.import_module(module), function)
    given = json.loads(arguments)
    cpu, began = _cpu(), time.perf_counter()
    result = entry(**given)
    wall = time.perf_counter() - began
    measured = {"wall": wall, "cpu": _cpu() - cpu, "peak": _peak(), "result": result}
    Path(answer).write_text(json.dumps(measured))


if __name__ == "__main__":
    _main(*sys.argv[1:])
