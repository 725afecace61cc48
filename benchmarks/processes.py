"""Other processes: the CPU time and memory of what runs beside a call, read from the kernel.

Owns which figures a process has: seconds of all its threads since it began, the most memory it held at a
time, and what it holds now, its share of what is held together.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Use:
    """CPU seconds since it began, and bytes of memory: the peak and now."""

    cpu: float
    peak: int
    held: int


def use(pid: int) -> Use:
    """What a process has used."""
    root = Path("/proc", str(pid))
    # The name of a program, in brackets, can hold anything.
    times = (root / "stat").read_text().rpartition(")")[2].split()
    return Use(
        (int(times[11]) + int(times[12])) / _TICKS,
        _kilobytes(root / "status", "VmHWM:") * 1024,
        _kilobytes(root / "smaps_rollup", "Pss:") * 1024,
    )


def family(pids: Iterable[int]) -> set[int]:
    """Processes and what they have started, all that live."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found: set[int] = set()
    left = list(pids)
    while left:
        pid = left.pop()
        found.add(pid)
        left += children.get(pid, [])
    return found


def _kilobytes(path: Path, name: str) -> int:
    return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(name))
