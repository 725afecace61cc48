"""A day from the store to files, by this project and by its peers, side by side."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from benchmarks import equality
from benchmarks.inputs import DATA_TYPE, Input, sampled_day
from benchmarks.measuring import Measured, alternate, measure, typical
from benchmarks.plan import Plan
from benchmarks.report import Section, Target, at_least, at_most, megabytes
from benchmarks.writers import clickhouse, duckdb_copy, ours, pandas_frame, polars
from export_pipeline.days import midnight
from export_pipeline.sql import parquet

OURS, OURS_READ, CHDB, POLARS, COPY, PANDAS = (
    "this project, writing",
    "this project, read back too",
    "chdb",
    "polars",
    "DuckDB COPY",
    "pandas (a tenth of the day)",
)
PEERS = {CHDB: clickhouse.write, POLARS: polars.write, COPY: duckdb_copy.write}
KINDS = (("jsonl", "gzip"), ("jsonl", "none"), ("csv", "gzip"), ("csv", "none"))
PART = 10
"""pandas writes this part of the day."""


def run(plan: Plan) -> Iterator[Section]:
    """One section a format and compression."""
    given = sampled_day(plan.inputs, plan.rows)
    for format, compression in KINDS:
        yield compare(plan, given, format, compression)


def compare(plan: Plan, given: Input, format: str, compression: str) -> Section:
    """Every writer in turn, each file's rows held against the store's before its figure counts.

    Raises:
        NotEqual: if a writer's rows are not the store's.
    """
    made = _Made(plan, given, format, compression)
    made.export(replayed=False)
    calls: dict[str, Callable[[], Measured]] = {
        OURS: lambda: made.export(replayed=True),
        OURS_READ: lambda: made.export(replayed=None),
        **{name: partial(made.peer, name, write) for name, write in PEERS.items()},
        PANDAS: lambda: made.peer(PANDAS, pandas_frame.write, made.until),
    }
    try:
        found = {name: typical(each) for name, each in alternate(calls, plan.rounds).items()}
    finally:
        shutil.rmtree(plan.outputs, ignore_errors=True)
    name = _name(format, compression)
    rate = {writer: made.rows[writer] / measured.wall for writer, measured in found.items()}
    rows = [
        [
            writer,
            f"{made.rows[writer]:,}",
            f"{measured.wall:.2f}",
            f"{rate[writer] / 1000:,.0f}k",
            f"{measured.cpu:.2f}",
            megabytes(measured.peak),
            megabytes(made.bytes[writer]),
            f"{rate[OURS] / rate[writer]:.2f}",
            f"{measured.cpu / made.rows[writer] / (found[OURS].cpu / made.rows[OURS]):.2f}",
        ]
        for writer, measured in found.items()
    ]
    headings = [
        "Writer",
        "rows",
        "seconds",
        "rows/s",
        "CPU s",
        "peak memory",
        "size",
        "ours is faster by",
        "CPU a row",
    ]
    return Section(
        f"{name}: {made.rows[OURS]:,} rows",
        headings,
        rows,
        [
            f"Rows of every file equal to the store's, in order; {plan.rounds} rounds in alternating "
            "order, medians."
        ],
        _targets(name, found, rate, made.bytes),
    )


def _name(format: str, compression: str) -> str:
    return format.upper() + (".gz" if compression == "gzip" else ", uncompressed")


def _targets(
    name: str, found: dict[str, Measured], rate: dict[str, float], size: dict[str, int]
) -> list[Target]:
    """What is asked of this format and compression; a rate is that of writing, reading back stands apart."""

    def against(peer: str, wanted: float) -> Target:
        return at_least(f"{name}, against {peer}", wanted, rate[OURS] / rate[peer], "x")

    if name == "JSONL.gz":
        added = 100 * (found[OURS_READ].wall / found[OURS].wall - 1)
        targets = [
            against(CHDB, 2.2),
            against(POLARS, 1.2),
            against(COPY, 10),
            *(at_most(f"{name}, size against {p}", 1.1, size[OURS] / size[p], "x") for p in (CHDB, POLARS)),
            at_most(f"{name}, what reading back adds", 40, added, "%"),
        ]
    elif name == "CSV.gz":
        targets = [against(CHDB, 2.2)]
    else:
        targets = [against(max(PEERS, key=lambda peer: rate[peer]), 1.0)]
    return [*targets, at_most(f"{name}, peak memory", 600, found[OURS_READ].peak / 1e6, "MB")]


class _Made:
    """Files made from one input in one form, checked and removed; their rows and sizes by writer."""

    def __init__(self, plan: Plan, given: Input, format: str, compression: str) -> None:
        self._outputs, self._given = plan.outputs, given
        self._form = {"data_type": DATA_TYPE, "format": format, "compression": compression}
        self._files = given.files
        self.until = _tenth(given)
        self._expected = {
            until: equality.stored(self._files, DATA_TYPE, format, until) for until in (None, self.until)
        }
        self._equal: set[tuple[str | None, tuple[str, ...]]] = set()
        self.rows: dict[str, int] = {}
        self.bytes: dict[str, int] = {}
        self._outputs.mkdir(parents=True, exist_ok=True)

    def export(self, *, replayed: bool | None) -> Measured:
        """This project's export; ``replayed``: nothing is read back, see ``ours.write_accounted``."""
        out = self._outputs / "export"
        arguments: dict[str, Any] = {
            **self._form,
            "home": str(self._given.home),
            "day": str(self._given.end),
            "out": str(out),
        }
        if replayed is None:
            measured = measure(ours.write, **arguments)
        else:
            kept = str(self._outputs / "read-back")
            measured = measure(ours.write_accounted, read_back=kept, replayed=replayed, **arguments)
        self._check(OURS if replayed else OURS_READ, sorted((out / DATA_TYPE).glob("part-*")), None)
        shutil.rmtree(out)
        return measured

    def peer(self, name: str, write: Callable[..., None], until: str | None = None) -> Measured:
        """A peer's file of the rows before ``until``."""
        out = (
            self._outputs
            / f"peer.{self._form['format']}{'.gz' if self._form['compression'] == 'gzip' else ''}"
        )
        part = {"until": until} if until else {}
        measured = measure(write, files=self._files, out=str(out), **self._form, **part)
        self._check(name, [out], until)
        out.unlink()
        return measured

    def _check(self, writer: str, paths: Sequence[Path], until: str | None) -> None:
        hashes = tuple(_digest(path) for path in paths)
        if (until, hashes) not in self._equal:
            names = [str(path) for path in paths]
            try:
                equality.check(
                    names, self._expected[until], self._files, DATA_TYPE, self._form["format"], until
                )
            except equality.NotEqual as error:
                raise equality.NotEqual(f"{writer}, {self._form['format']}: {error}") from None
            self._equal.add((until, hashes))
        self.rows[writer] = self._expected[until].rows
        self.bytes[writer] = sum(path.stat().st_size for path in paths)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tenth(given: Input) -> str:
    """The instant before which a tenth of the day's rows lie."""
    with duckdb.connect() as connection:
        found = connection.execute(
            f"select quantile_disc(epoch_us(timestamp), {1 / PART}) from {parquet(given.files)}"
        ).fetchone()
    assert found is not None
    return (midnight(given.end) + timedelta(microseconds=found[0] - _midnight_us(given))).isoformat()


def _midnight_us(given: Input) -> int:
    return int(midnight(given.end).timestamp()) * 1_000_000
