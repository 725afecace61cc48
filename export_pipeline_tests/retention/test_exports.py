"""Export files go seven days after they were made, to the second; made again they keep their number."""

from datetime import timedelta

import pytest
from upath import UPath

from export_pipeline.exports import live_daily, verify
from export_pipeline.exports.service import clear, request_export, run_job
from export_pipeline.ledger import Job, Ledger
from export_pipeline.objects import files_below
from export_pipeline.operations.due import due_now
from export_pipeline.retention import retain
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import land_rows
from export_pipeline_tests.retention.conftest import NOW, Export, Fill, Round, ago
from export_pipeline_tests.retention.process import die
from export_pipeline_tests.rows import row

WEEK = timedelta(days=7)
SECOND = timedelta(seconds=1)
LATE = row(900, timestamp=NOW - timedelta(days=1))


def files(settings: Settings) -> dict[UPath, int]:
    return {path: size for path, size, _ in files_below(settings.exports)}


def make_job(settings: Settings, store: Store, ledger: Ledger) -> Job:
    asked = {"startDate": str(ago(1)), "endDate": str(ago(1))}
    job = request_export(settings, store, ledger, asked, now=NOW, created_by="command")
    return run_job(settings, store, ledger, job.id, 1, clock=lambda: NOW)


@pytest.mark.backends("s3")
def test_a_daily_export_is_kept_to_the_last_second_of_its_seven_days(
    fill: Fill, export: Export, round_: Round, settings: Settings
) -> None:
    fill(ago(1), 5)
    made = export(ago(1), NOW)
    assert round_(NOW + WEEK - SECOND)["dailyExports"].files == 0
    assert verify(made.path).ok
    held = sum(files(settings).values())
    removed = round_(NOW + WEEK)["dailyExports"]
    assert (removed.rows, removed.files, removed.bytes) == (5, 4, held)
    assert not files(settings)
    assert not list((settings.tmp / "exports").glob("*"))


def test_each_version_has_its_own_seven_days(
    fill: Fill, export: Export, round_: Round, store: Store, ledger: Ledger
) -> None:
    fill(ago(1))
    first = export(ago(1), NOW)
    land_rows(store, ledger, [LATE], "events")
    second = export(ago(1), NOW + timedelta(days=2))
    assert second.manifest.version == 2
    round_(NOW + WEEK)
    assert not first.path.exists()
    assert verify(second.path).ok


def test_an_expired_export_made_again_keeps_its_number_and_the_next_one_gets_the_next(
    fill: Fill, export: Export, round_: Round, settings: Settings, ledger: Ledger, store: Store
) -> None:
    fill(ago(1))
    before = export(ago(1), NOW)
    sums = before.sha256
    round_(NOW + WEEK)
    again = export(ago(1), NOW + WEEK)
    assert (again.manifest.version, again.manifest.export_id) == (1, before.manifest.export_id)
    assert again.sha256 == sums
    round_(NOW + WEEK + WEEK)
    land_rows(store, ledger, [LATE], "events")
    assert export(ago(1), NOW + WEEK + WEEK).manifest.version == 2


def test_an_expired_export_is_not_due_again(
    fill: Fill, export: Export, round_: Round, settings: Settings, ledger: Ledger
) -> None:
    short = settings.model_copy(update={"export_retention_days": 1})
    fill(ago(1))
    for data_type in ("events", "quality", "ads"):
        for format_ in ("jsonl", "csv"):
            export(ago(1), NOW, data_type=data_type, format=format_)
    day_later = NOW + timedelta(days=1)
    retain(short, Store(short), ledger, day_later)
    assert live_daily(settings, "events", "jsonl", ago(1)) is None
    assert ago(1) not in due_now(short, ledger, day_later).ready


@pytest.mark.backends("s3")
def test_a_jobs_files_go_when_its_links_end_and_not_with_the_sensor(
    fill: Fill, round_: Round, settings: Settings, store: Store, ledger: Ledger
) -> None:
    fill(ago(1))
    job = make_job(settings, store, ledger)
    folder = settings.exports / str(job.path)
    assert round_(NOW + WEEK - SECOND)["exports"].files == 0
    clear(settings, ledger, NOW + WEEK)
    assert verify(folder).ok
    removed = round_(NOW + WEEK)["exports"]
    assert (removed.rows, removed.files) == (3, 4)
    assert not (folder / "manifest.json").exists()
    assert ledger.jobs.get(job.id, NOW).state == "expired"


@pytest.mark.backends("s3")
@pytest.mark.parametrize("point", ["retention.noted", "retention.moved"])
def test_killed_while_files_go_the_next_round_completes_it(
    point: str, fill: Fill, export: Export, round_: Round, settings: Settings, store: Store, ledger: Ledger
) -> None:
    fill(ago(1))
    export(ago(1), NOW)
    make_job(settings, store, ledger)
    die(settings, NOW + WEEK, point)
    round_(NOW + WEEK)
    assert not files(settings)
    assert not [path for path in (settings.tmp / "exports").rglob("*") if path.is_file()]


def test_a_dry_run_leaves_files_and_jobs(
    fill: Fill, export: Export, round_: Round, settings: Settings, store: Store, ledger: Ledger
) -> None:
    fill(ago(1))
    made = export(ago(1), NOW)
    job = make_job(settings, store, ledger)
    expected = round_(NOW + WEEK, dry_run=True)
    assert verify(made.path).ok
    assert verify(settings.exports / str(job.path)).ok
    assert ledger.keeping.unannounced() == ()
    removed = round_(NOW + WEEK)
    names = ("dailyExports", "exports")
    assert [removed[name] for name in names] == [expected[name] for name in names]
