"""Arriving: how fast the sample is made and how fast landing files are taken in."""

import shutil
from pathlib import Path

from benchmarks.inputs import DATA_TYPE, DAY, ROWS_A_USER, SEED, deployment, now_after
from benchmarks.measuring import Measured, alternate, measure, typical
from benchmarks.plan import Plan
from benchmarks.report import Section, at_least, megabytes
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.events.sample import write_sample
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Ledger
from export_pipeline.store import Store

_SAMPLE_WANTED, _INGEST_WANTED = 300_000, 150_000


def run(plan: Plan) -> list[Section]:
    """A day of all data types: made as a sample, and taken in, by turns."""
    outputs = plan.outputs
    try:
        calls = {
            "sample": lambda: _sampled(outputs, plan.small_rows),
            "ingest": lambda: _ingested(outputs, plan.small_rows),
        }
        found = {name: typical(each) for name, each in alternate(calls, plan.rounds).items()}
    finally:
        shutil.rmtree(outputs, ignore_errors=True)
    rate = {name: measured.result / measured.wall for name, measured in found.items()}
    rows = [
        [
            name,
            f"{measured.result:,}",
            f"{measured.wall:.2f}",
            f"{measured.cpu:.2f}",
            f"{rate[name] / 1000:,.0f}k",
            megabytes(measured.peak),
        ]
        for name, measured in found.items()
    ]
    return [
        Section(
            "Sample and ingest",
            ["Work", "lines", "seconds", "CPU s", "lines/s", "peak memory"],
            rows,
            ["Event lines of all data types, half of them gzip files; ingest begins with an empty store."],
            [
                at_least("Ingest", _INGEST_WANTED, rate["ingest"], "events/s"),
                at_least("Sample", _SAMPLE_WANTED, rate["sample"], "rows/s"),
            ],
        )
    ]


def _sampled(outputs: Path, rows: int) -> Measured:
    shutil.rmtree(outputs / "sample", ignore_errors=True)
    return measure(sample, to=str(outputs / "sample"), rows=rows)


def _ingested(outputs: Path, rows: int) -> Measured:
    home = outputs / "home"
    shutil.rmtree(home, ignore_errors=True)
    if not (outputs / "sample").exists():
        sample(str(outputs / "sample"), rows)
    for data_type in DATA_TYPES:
        # Ingest removes what it has taken, but not the other name of the same file.
        shutil.copytree(outputs / "sample" / data_type, home / "landing" / data_type, copy_function=_link)
    return measure(ingest, home=str(home))


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def sample(to: str, rows: int) -> int:
    """Make a day of landing files in ``to``; the event lines written."""
    written = write_sample(Path(to), 1, DAY, rows, max(100, rows // ROWS_A_USER), SEED)
    return sum(written[data_type]["lines"] for data_type in DATA_TYPES)


def ingest(home: str) -> int:
    """Take in what landed in ``home``; the event lines received."""
    settings = deployment(home)
    report = ingest_landing(settings, Store(settings), Ledger(settings), now=now_after(DAY))
    assert report.counts[DATA_TYPE].accepted
    return sum(report.counts[data_type].received for data_type in DATA_TYPES)
