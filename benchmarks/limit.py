"""The limit: what decoding, formatting and compressing cost alone, and what share of it an export reaches.

Each is measured on one thread. Together, spread evenly over the cores, they are the time below which this way
of writing cannot come; planning, ordering, hashing, the disk and waiting are what an export spends beyond it.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import pyarrow.parquet as pq

from benchmarks.inputs import DATA_TYPE, Input, deployment, sampled_day
from benchmarks.measuring import alternate, measure, typical
from benchmarks.plan import Plan
from benchmarks.report import Section, at_least
from benchmarks.writers import ours
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.decoding import decoded, dictionaries, let_go
from export_pipeline.exports.encoding import get_ready, lines
from export_pipeline.exports.ordering import blocks
from export_pipeline.exports.planning import plan_day
from export_pipeline.exports.request import FORMATS, Filters, Format, check_format
from export_pipeline.exports.scanning import Scan, connection
from export_pipeline.exports.scratch import Scratch
from export_pipeline.exports.spans import Span, spans
from export_pipeline.gzip_member import member
from export_pipeline.ledger import Ledger
from export_pipeline.store import Store

STAGES = ("decode", "format", "compress", "spans decode", "blocks")
"""Blocks are rows in order: their decoding is part of them."""

SAMPLED_SPANS = 12
_WANTED_SHARE = 70


def run(plan: Plan) -> Iterator[Section]:
    """Both formats, compressed; the share of JSONL is a target."""
    given = sampled_day(plan.inputs, plan.rows)
    for format in FORMATS:
        yield _section(plan, given, format)


def _section(plan: Plan, given: Input, format: str) -> Section:
    known = {"home": str(given.home), "day": str(given.end), "format": format}
    outputs = plan.outputs
    outputs.mkdir(parents=True, exist_ok=True)

    def export(replayed: bool) -> Any:
        out, kept = outputs / "export", str(outputs / "read-back")
        try:
            return measure(
                ours.write_accounted,
                read_back=kept,
                replayed=replayed,
                data_type=DATA_TYPE,
                compression="gzip",
                out=str(out),
                **known,
            )
        finally:
            shutil.rmtree(out, ignore_errors=True)

    try:
        accounted = export(replayed=False)
        calls = {"alone": lambda: measure(stages, **known), "writing": lambda: export(replayed=True)}
        found = alternate(calls, plan.rounds)
    finally:
        shutil.rmtree(outputs, ignore_errors=True)
    alone = {name: sorted(each.result[name] for each in found["alone"])[plan.rounds // 2] for name in STAGES}
    writing = typical(found["writing"])
    cores = os.cpu_count() or 1
    limit = (alone["decode"] + alone["format"] + alone["compress"]) / cores
    share = 100 * limit / writing.wall
    label = "JSONL.gz" if format == "jsonl" else "CSV.gz"
    read = sum(seconds for name, seconds in accounted.result.items() if name == "read_range")
    tasks = sum(writing.result.values())
    rows = [
        ["decode, alone", f"{alone['decode']:.2f}"],
        ["format, alone", f"{alone['format']:.2f}"],
        ["compress, alone", f"{alone['compress']:.2f}"],
        ["order (no part of the limit)", f"{max(0.0, alone['blocks'] - alone['spans decode']):.2f}"],
        *([f"export: {name}", f"{seconds:.2f}"] for name, seconds in sorted(writing.result.items())),
        ["export: everything else (hashing, writing, planning files)", f"{writing.cpu - tasks:.2f}"],
        ["export: all, nothing read back", f"{writing.cpu:.2f}"],
        ["reading back", f"{read:.2f}"],
    ]
    notes = [
        f"Limit: {limit:.2f} s on {cores} cores. The export takes {writing.wall:.2f} s, {share:.0f} % of it "
        f"is the limit; {100 * writing.cpu / cores / writing.wall:.0f} % of the cores' time is used.",
    ]
    targets = (
        [at_least("JSONL.gz, share of the CPU limit", _WANTED_SHARE, share, "%")] if format == "jsonl" else []
    )
    return Section(
        f"{label}: where the CPU time goes, {given.rows:,} rows", ["Stage", "CPU s"], rows, notes, targets
    )


def stages(home: str, day: str, format: str) -> dict[str, float]:
    """CPU seconds of each of ``STAGES`` for a day of ``home``.

    Decoding is measured on all files; the others on spans spread over the day, and scaled to its rows.
    """
    settings, when = deployment(home), date.fromisoformat(day)
    files = Store(settings).files(DATA_TYPES[DATA_TYPE].table, when, when)
    look = Ledger(settings).read_days(DATA_TYPE, when, when)
    with tempfile.TemporaryDirectory() as spill:
        scan = Scan(DATA_TYPE, when, tuple(files), look.watermark, Filters(), spill)
        seconds = dict.fromkeys(STAGES, 0.0)
        get_ready()
        plan = plan_day(scan, settings.window_rows)
        every = list(spans(scan, plan.windows, check_format(format), "gzip"))
        with _counted(seconds, "decode"):
            for file in files:
                parts = pq.ParquetFile(file, read_dictionary=dictionaries(DATA_TYPES[DATA_TYPE]))
                for group in range(parts.num_row_groups):
                    parts.read_row_group(group, use_threads=False)
        chosen = every[:: max(1, len(every) // SAMPLED_SPANS)]
        scratch = Scratch()
        rows = sum(_rest(span, check_format(format), scratch, seconds) for span in chosen)
    scale = plan.rows / rows
    return {name: value * (1 if name == "decode" else scale) for name, value in seconds.items()}


def _rest(span: Span, format: Format, scratch: Scratch, seconds: dict[str, float]) -> int:
    """Add the seconds of the stages after decoding for the rows of ``span``; how many they are."""
    with _counted(seconds, "spans decode"):
        found = sum(len(rows) for rows in decoded(span.scan, span.windows))
    let_go()
    with _counted(seconds, "blocks"):
        tables = list(blocks(span.scan, span.windows))
    scratch.size = 0
    with _counted(seconds, "format"):
        for rows in tables:
            lines(DATA_TYPE, format, rows, connection(span.scan.spill)).write(0, len(rows), scratch)
    content = scratch.written()
    length = -(-len(content) // len(span.windows))
    with _counted(seconds, "compress"):
        for start in range(0, len(content), length):
            member(content[start : start + length])
    return found


@contextmanager
def _counted(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.process_time()
    yield
    seconds[stage] += time.process_time() - began
