"""The limit: what decoding, formatting and compressing cost alone, and what share of it an export reaches.

Each is measured on one thread. Together, spread evenly over the cores, they are the time below which this way
of writing cannot come; planning, ordering, hashing, the disk and waiting are what an export spends beyond it.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa

from benchmarks.inputs import DATA_TYPE, Input, deployment, sampled_day
from benchmarks.measuring import alternate, measure, typical
from benchmarks.plan import Plan
from benchmarks.report import Section, at_least
from benchmarks.writers import ours
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.encoding import lines
from export_pipeline.exports.request import FORMATS, Filters, Format, check_format
from export_pipeline.exports.scanning import Scan, connection
from export_pipeline.exports.spans import Span, member, spans
from export_pipeline.exports.windows import condition, plan_day
from export_pipeline.ledger import Ledger
from export_pipeline.sql import parquet, quoted
from export_pipeline.store import Store
from export_pipeline.store.tables import arrow_schema

STAGES = ("decode", "format", "compress", "order", "spans decode")
SAMPLED_SPANS = 12
_BATCH_ROWS = 8192
_ORDER = "order by"
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
        ["order (no part of the limit)", f"{alone['order']:.2f}"],
        [
            "row groups decoded again for the next window (no part of the limit)",
            f"{max(0.0, alone['spans decode'] - alone['decode']):.2f}",
        ],
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
        seconds["decode"] = _decode(parquet(files), connection(spill), {})
        plan = plan_day(scan, settings.window_rows)
        every = list(spans(scan, plan.windows, check_format(format), "gzip"))
        chosen = every[:: max(1, len(every) // SAMPLED_SPANS)]
        rows = sum(_rest(span, check_format(format), seconds) for span in chosen)
    scale = plan.rows / rows
    return {name: value * (1 if name == "decode" else scale) for name, value in seconds.items()}


def _decode(source: str, reader: duckdb.DuckDBPyConnection, parameters: Mapping[str, Any]) -> float:
    # A count is answered from the file's statistics; these need each value, and do next to nothing with it.
    used = {pa.string(): "sum(strlen({}))", pa.timestamp("us", "UTC"): "bit_xor(epoch_us({}))"}
    columns = ", ".join(
        used.get(column.type, "sum({})").format(quoted(column.name)) for column in arrow_schema(DATA_TYPE)
    )
    began = time.process_time()
    reader.execute(f"select {columns} from {source}", dict(parameters)).fetchall()
    return time.process_time() - began


def _rest(span: Span, format: Format, seconds: dict[str, float]) -> int:
    """Add the seconds of the stages after decoding for the rows of ``span``; how many they are.

    Formatting is what it adds to decoding, as rows from Parquet reach it in another form than those of a
    table, dictionaries and all; ordering is what it adds to both.
    """
    reader = connection(span.scan.spill)
    wanted, conditions = condition(span.windows)
    source, parameters = (
        f"(from {span.scan.source()} where {wanted})",
        {**span.scan.parameters(), **conditions},
    )
    query = lines(DATA_TYPE, format, source, span.windows[0].begin, span.windows[-1].end)
    unordered, found, _ = query.rpartition(_ORDER)
    assert found, "the query is expected to end with its order"
    decoding = _decode(source, reader, parameters)
    formatting, _ = _read(reader.sql(unordered, params=parameters))
    ordering, batches = _read(reader.sql(query, params=parameters))
    content = b"".join(memoryview(batch.column("line").buffers()[2]) for batch in batches)
    length = -(-len(content) // len(span.windows))
    began = time.process_time()
    for start in range(0, len(content), length):
        member(content[start : start + length])
    seconds["compress"] += time.process_time() - began
    seconds["spans decode"] += decoding
    seconds["format"] += max(0.0, formatting - decoding)
    seconds["order"] += max(0.0, ordering - formatting)
    return sum(batch.num_rows for batch in batches)


def _read(relation: duckdb.DuckDBPyRelation) -> tuple[float, list[pa.RecordBatch]]:
    began = time.process_time()
    batches = list(relation.to_arrow_reader(_BATCH_ROWS))
    return time.process_time() - began, batches
