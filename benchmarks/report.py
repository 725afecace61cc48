"""The report: tables of figures, what was to be reached beside what was measured, and the machine."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_PACKAGES = ("duckdb", "pyarrow", "pyiceberg", "isal", "dagster", "chdb", "polars", "pandas")


@dataclass(frozen=True)
class Target:
    """Something to be reached: what work, how much, what was measured, and whether that is enough."""

    work: str
    wanted: str
    measured: str
    reached: bool


@dataclass(frozen=True)
class Section:
    """The figures of one benchmark."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    targets: Sequence[Target] = ()

    def text(self) -> str:
        """The figures as Markdown."""
        text = f"## {self.title}\n\n{table(self.headings, self.rows)}"
        if self.notes:
            text += "\n\n" + "\n".join(f"- {note}" for note in self.notes)
        return text


def at_least(work: str, wanted: float, measured: float, unit: str) -> Target:
    """A target that is reached by ``wanted`` or more."""
    return Target(work, _amount(wanted, unit), _amount(measured, unit), measured >= wanted)


def at_most(work: str, wanted: float, measured: float, unit: str) -> Target:
    """A target that is reached by ``wanted`` or less."""
    return Target(work, f"≤ {_amount(wanted, unit)}", _amount(measured, unit), measured <= wanted)


def _amount(value: float, unit: str) -> str:
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{number} {unit}".strip()


def megabytes(count: int) -> str:
    """A number of bytes in millions."""
    return f"{count / 1e6:,.0f} MB"


def document(sections: Sequence[Section], load: Sequence[float], seconds: float) -> str:
    """All sections as Markdown, the targets first.

    Args:
        load: the machine's load before each benchmark; the one before it shows in it.
    """
    parts = ["# Benchmarks", _machine(load, seconds)]
    targets = [target for section in sections for target in section.targets]
    if targets:
        rows = [[t.work, t.wanted, t.measured, "yes" if t.reached else "**no**"] for t in targets]
        parts.append("## To be reached\n\n" + table(["Work", "Wanted", "Measured", "Reached"], rows))
    parts += [section.text() for section in sections]
    return "\n\n".join(parts) + "\n"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned for a terminal; all but the first to the right."""
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |"

    rule = "|".join([f":{'-' * (widths[0] + 1)}"] + [f"{'-' * (width + 1)}:" for width in widths[1:]])
    return "\n".join([line(headings), f"|{rule}|", *map(line, rows)])


def _machine(load: Sequence[float], seconds: float) -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version}" for name in _PACKAGES if (version := _version(name)))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}. "
        f"{seconds / 60:.0f} minutes; load before each "
        f"benchmark {', '.join(f'{value:.1f}' for value in load)}."
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
