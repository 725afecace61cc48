"""What is told of an export before it is made comes true, within a fifth, and costs no look at the rows."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.days import days_between
from export_pipeline.events.sample import write_sample
from export_pipeline.exports import export_day, parse_request, write_export
from export_pipeline.exports.estimates import Estimate, estimate
from export_pipeline.exports.service import request_export, run_job
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import NOW

END = date(2026, 11, 20)
START = END - timedelta(days=1)
TYPES = ["events", "quality", "ads"]


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two days of a sample, shared: its rows do not change."""
    settings = load({"EXPORT_PIPELINE_HOME": str(tmp_path_factory.mktemp("sampled"))})
    write_sample(settings.landing, 2, END, 20_000, 500, 1)
    ingest_landing(settings, Store(settings), Ledger(settings), now=NOW)
    return settings


def asked(**values: Any) -> dict[str, Any]:
    return {"startDate": str(START), "endDate": str(END), "dataTypes": TYPES, **values}


def estimated(settings: Settings, **values: Any) -> Estimate:
    request = parse_request(asked(**values), now=NOW, settings=settings)
    return estimate(settings, Store(settings), Ledger(settings), request, NOW)


def made(settings: Settings, out: Path, **values: Any) -> tuple[int, int]:
    request = parse_request(asked(**values), now=NOW, settings=settings)
    store, ledger = Store(settings), Ledger(settings)
    manifest = write_export(request, out, settings=settings, store=store, ledger=ledger, now=NOW)
    return manifest.row_count, manifest.total_bytes


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_rows_are_exact_and_bytes_within_a_fifth_before_anything_was_exported(
    sampled: Settings, tmp_path: Path, format: str, compression: str
) -> None:
    shape = {"format": format, "compression": compression}
    expected = estimated(sampled, **shape)
    rows, size = made(sampled, tmp_path / "out", **shape)
    assert expected.rows == rows
    assert expected.bytes == pytest.approx(size, rel=0.2)


def test_bytes_follow_what_was_exported_before(sampled: Settings, tmp_path: Path) -> None:
    store, ledger = Store(sampled), Ledger(sampled)
    for day in days_between(START, END):
        for name in TYPES:
            export_day(name, "jsonl", day, settings=sampled, store=store, ledger=ledger, now=NOW)
    assert estimated(sampled).bytes == pytest.approx(made(sampled, tmp_path / "a")[1], rel=0.02)
    shape = {"format": "csv", "compression": "none", "dataTypes": ["ads"]}
    job = request_export(sampled, store, ledger, asked(**shape), now=NOW, created_by="command")
    run_job(sampled, store, ledger, job.id, 1, clock=lambda: NOW)
    assert estimated(sampled, **shape).bytes == pytest.approx(made(sampled, tmp_path / "b", **shape)[1], 0.02)


def test_a_filter_makes_it_smaller(sampled: Settings) -> None:
    everything = estimated(sampled)
    for filters in ({"eventTypes": ["like"]}, {"contentIds": ["a"]}, {"userIds": ["a", "b"]}):
        less = estimated(sampled, filters=filters)
        assert 0 <= less.rows < everything.rows / 2
        assert less.bytes < everything.bytes / 2


def test_an_export_of_nothing_is_expected_to_be_empty(settings: Settings) -> None:
    expected = estimated(settings)
    assert (expected.rows, expected.bytes) == (0, 0)
    assert NOW < expected.completion < NOW + timedelta(minutes=1)


def test_jobs_ahead_make_it_later(settings: Settings) -> None:
    alone = estimated(settings).completion
    ledger = Ledger(settings)
    job = request_export(settings, Store(settings), ledger, asked(), now=NOW, created_by="command")
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("update jobs set estimated_rows = 90000000")
    assert estimated(settings).completion > alone + timedelta(seconds=60)
    ledger.jobs.cancel(job.id, NOW)
    assert estimated(settings).completion == alone


def test_no_file_of_the_store_is_opened(sampled: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("rows were read")

    monkeypatch.setattr("duckdb.connect", opened)
    monkeypatch.setattr("pyarrow.parquet.ParquetFile", opened)
    assert estimated(sampled).rows > 0
