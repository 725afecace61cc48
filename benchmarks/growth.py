"""Growth: days of 1, 5 and 20 times the rows take as much longer, in the same memory."""

import shutil
from functools import partial
from pathlib import Path

from benchmarks.inputs import DATA_TYPE, Input, multiplied_day, sampled_day
from benchmarks.measuring import Measured, alternate, measure, typical
from benchmarks.plan import Plan
from benchmarks.report import Section, at_most, megabytes
from benchmarks.writers import ours

_FLAT = 1.2


def run(plan: Plan) -> list[Section]:
    """JSONL.gz, read back, of each size."""
    given = sampled_day(plan.inputs, plan.rows)
    sizes = [sampled_day(plan.inputs, plan.small_rows), given, multiplied_day(plan.inputs, given, plan.scale)]
    calls = {str(each.rows): partial(_export, plan.outputs, each) for each in sizes}
    found = {int(rows): typical(measured) for rows, measured in alternate(calls, plan.rounds).items()}
    shutil.rmtree(plan.outputs, ignore_errors=True)
    rows = [
        [
            f"{rows:,}",
            f"{measured.wall:.2f}",
            f"{measured.cpu:.2f}",
            f"{measured.wall / rows * 1e6:.2f}",
            megabytes(measured.peak),
        ]
        for rows, measured in found.items()
    ]
    _, middle, large = found
    peaks = [found[middle].peak, found[large].peak]
    time = (found[large].wall / large) / (found[middle].wall / middle)
    return [
        Section(
            "Growth: JSONL.gz, read back too",
            ["Rows of the day", "seconds", "CPU s", "µs a row", "peak memory"],
            rows,
            [
                "The smallest day has too few windows to fill what is held at once: memory is compared "
                "above it."
            ],
            [
                at_most(f"Time a row, {large:,} against {middle:,} rows", _FLAT, time, "x"),
                at_most(
                    f"Peak memory, {large:,} against {middle:,} rows", _FLAT, max(peaks) / min(peaks), "x"
                ),
                at_most(f"Peak memory at {large:,} rows", 600, found[large].peak / 1e6, "MB"),
            ],
        )
    ]


def _export(outputs: Path, given: Input) -> Measured:
    out = outputs / "export"
    outputs.mkdir(parents=True, exist_ok=True)
    try:
        return measure(
            ours.write,
            home=str(given.home),
            data_type=DATA_TYPE,
            day=str(given.end),
            format="jsonl",
            compression="gzip",
            out=str(out),
        )
    finally:
        shutil.rmtree(out, ignore_errors=True)
