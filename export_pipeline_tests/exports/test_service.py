"""What is asked for is made once and whole, or ends with a reason; nothing half made stays."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from export_pipeline import locks
from export_pipeline.errors import Conflict, DamagedData, InvalidRequest, OutsideRetention, TransientError
from export_pipeline.exports import parse_request, verify, write_export
from export_pipeline.exports.manifest import from_json
from export_pipeline.exports.service import clear, lock_name, request_export, run_job
from export_pipeline.ledger import Job, Ledger
from export_pipeline.locks import lock_soon
from export_pipeline.objects import files_below, is_remote, relative
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.conditions import until
from export_pipeline_tests.exports.conftest import NOW, Land
from export_pipeline_tests.exports.encoded import at
from export_pipeline_tests.exports.process import die, start
from export_pipeline_tests.rows import row

RANGE = {"startDate": "2026-11-19", "endDate": "2026-11-20"}
USER = "user_00000003"
STAGES = ("job.started", "export.events", "export.written", "export.sealed", "job.published", "job.completed")

Ask = Callable[..., Job]
Run = Callable[..., Job]


@pytest.fixture
def ask(settings: Settings, store: Store, ledger: Ledger) -> Ask:
    def asked(**values: Any) -> Job:
        return request_export(settings, store, ledger, {**RANGE, **values}, now=NOW, created_by="command")

    return asked


@pytest.fixture
def work(settings: Settings, store: Store, ledger: Ledger) -> Run:
    def worked(job: Job, attempt: int = 1, **changes: Any) -> Job:
        arguments: dict[str, Any] = {"clock": lambda: NOW, **changes}
        return run_job(arguments.pop("settings", settings), store, ledger, job.id, attempt, **arguments)

    return worked


def published(settings: Settings, job: Job) -> Path:
    assert job.path is not None
    return settings.exports / job.path


def left_over(settings: Settings) -> list[Path]:
    exports = settings.exports / "on_demand"
    if is_remote(exports):  # an object store may show folders of which all files are gone
        folders = {exports / relative(path, exports).partition("/")[0] for path, _, _ in files_below(exports)}
    else:
        folders = set(exports.glob("*"))
    return [*(settings.tmp / "exports").glob("*"), *folders, *settings.tmp.glob("locks/job-*")]


@pytest.mark.backends("s3")
def test_a_job_becomes_an_export_under_its_id(land: Land, ask: Ask, work: Run, settings: Settings) -> None:
    land([row(n) for n in range(30)])
    job = work(ask(dataTypes=["ads", "events"], format="csv"))
    assert (job.state, job.rows, job.path) == ("complete", 30, f"on_demand/{job.id}")
    assert job.expires_at == NOW + timedelta(days=7)
    folder = published(settings, job)
    assert verify(settings.exports).problems == ()
    assert f'"exportId": "{job.id}",\n  "kind": "on_demand"' in (folder / "manifest.json").read_text()
    assert job.bytes is not None
    assert job.bytes > sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    single = work(ask())
    assert single.bytes == sum(path.stat().st_size for path in published(settings, single).rglob("part-*"))


def test_the_files_are_those_of_the_same_export_by_the_command(
    land: Land, ask: Ask, work: Run, settings: Settings, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    land([row(n) for n in range(30)])
    filters = {"userIds": [USER], "eventTypes": ["impression"], "contentIds": ["vid_1", "vid_3"]}
    job = work(ask(filters=filters))
    asked = parse_request({**RANGE, "filters": filters}, now=NOW, settings=settings)
    manifest = write_export(asked, tmp_path / "out", settings=settings, store=store, ledger=ledger, now=NOW)
    mine = from_json(json.loads((published(settings, job) / "manifest.json").read_bytes()))
    assert mine.files == manifest.files
    assert mine.to_json()["filters"] == manifest.to_json()["filters"]
    assert job.rows == manifest.row_count == 2


def test_users_of_a_filter_are_nowhere_under_the_state_root_but_in_the_events(
    land: Land, ask: Ask, work: Run, settings: Settings
) -> None:
    land([row(n) for n in range(30)])
    job = ask(filters={"userIds": ["user_of_the_filter"]})
    work(job)
    holding = [p for p in settings.root.rglob("*") if p.is_file() and b"user_of_the_filter" in p.read_bytes()]
    assert holding == []
    assert "user_of_the_filter" not in repr(job)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"format": "xml"}, InvalidRequest),
        ({"filters": {"userIds": []}}, InvalidRequest),
        ({"startDate": "2026-01-01", "endDate": "2026-01-02"}, OutsideRetention),
    ],
)
def test_what_cannot_be_exported_is_refused_and_not_queued(
    ask: Ask, ledger: Ledger, values: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        ask(**values)
    assert ledger.jobs.list(NOW)[2] == 0


def test_progress_is_told_while_windows_finish(
    land: Land, ask: Ask, work: Run, settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export_pipeline.exports.service._PROGRESS_SECONDS", 0)
    land([row(n) for n in range(40)])
    told: list[int] = []
    note = ledger.jobs.progress
    monkeypatch.setattr(ledger.jobs, "progress", lambda *a: told.append(note(*a).progress))
    job = work(ask(), settings=settings.model_copy(update={"window_rows": 10}))
    assert told == [25, 50, 75, 99, 99]
    assert job.progress == 100


def test_cancelling_reaches_a_running_job_and_nothing_of_it_stays(
    land: Land, ask: Ask, work: Run, settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export_pipeline.exports.service._PROGRESS_SECONDS", 0)
    land([row(n) for n in range(40)])
    job, note = ask(), ledger.jobs.progress

    def cancelled(*arguments: Any) -> Job:
        if ledger.jobs.get(job.id, NOW).processed_rows:
            ledger.jobs.cancel(job.id, NOW)
        return note(*arguments)

    monkeypatch.setattr(ledger.jobs, "progress", cancelled)
    ended = work(job, settings=settings.model_copy(update={"window_rows": 10}))
    assert (ended.state, ended.processed_rows) == ("cancelled", 10)
    clear(settings, ledger, NOW)
    assert left_over(settings) == []


def test_a_job_cancelled_as_it_is_published_leaves_no_export(
    land: Land, ask: Ask, work: Run, settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    land([row(1)])
    job, complete = ask(), ledger.jobs.complete

    def too_late(*arguments: Any, **values: Any) -> Job:
        ledger.jobs.cancel(job.id, NOW)
        return complete(*arguments, **values)

    monkeypatch.setattr(ledger.jobs, "complete", too_late)
    assert work(job).state == "cancelled"
    clear(settings, ledger, NOW)
    assert left_over(settings) == []


def test_a_cancelled_job_is_not_begun(ask: Ask, work: Run, ledger: Ledger) -> None:
    job = ask()
    ledger.jobs.cancel(job.id, NOW)
    with pytest.raises(Conflict, match="it is cancelled"):
        work(job)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.backends("s3")
def test_a_worker_killed_at_a_stage_is_followed_by_one_that_completes(
    land: Land, ask: Ask, work: Run, settings: Settings, ledger: Ledger, stage: str
) -> None:
    land([row(n) for n in range(50)])
    job = ask()
    die(settings, job.id, 1, NOW, stage)
    with lock_soon(settings, lock_name(job.id), 10):
        pass
    clear(settings, ledger, NOW)
    if stage == "job.completed":
        assert ledger.jobs.get(job.id, NOW).state == "complete"
    else:
        assert ledger.jobs.get(job.id, NOW).state == "processing"
        work(job, attempt=2)
        clear(settings, ledger, NOW)
    job = ledger.jobs.get(job.id, NOW)
    assert (job.state, job.rows) == ("complete", 50)
    assert verify(settings.exports).problems == ()
    assert left_over(settings) == [published(settings, job)]


@pytest.mark.backends("s3")
@pytest.mark.parametrize("stage", STAGES[:-1])
def test_a_job_cancelled_after_its_worker_was_killed_leaves_nothing(
    land: Land, ask: Ask, settings: Settings, ledger: Ledger, stage: str
) -> None:
    land([row(n) for n in range(50)])
    job = ask()
    die(settings, job.id, 1, NOW, stage)
    ledger.jobs.cancel(job.id, NOW)
    clear(settings, ledger, NOW)
    assert left_over(settings) == []


@pytest.mark.backends("postgres")
def test_two_workers_never_work_on_a_job_at_once(
    land: Land, ask: Ask, settings: Settings, ledger: Ledger
) -> None:
    land([row(n, timestamp=at(0) + timedelta(seconds=n)) for n in range(5_000)])
    job = ask()
    processes = [start(settings, job.id, 1, NOW) for _ in range(3)]
    for process in processes:
        process.join(60)
    assert sorted(process.exitcode or 0 for process in processes) == [0, 1, 1]
    assert ledger.jobs.get(job.id, NOW).state == "complete"
    assert verify(settings.exports).problems == ()


def test_damaged_data_fails_the_job_in_words_for_its_user(
    land: Land, ask: Ask, work: Run, settings: Settings, store: Store, ledger: Ledger
) -> None:
    land([row(n) for n in range(50)])
    job = ask()
    Path(store.files("engagement_events")[0]).unlink()
    with pytest.raises(DamagedData, match="is missing"):
        work(job)
    failed = ledger.jobs.get(job.id, NOW)
    assert (failed.state, failed.error_code) == ("failed", "INTERNAL_ERROR")
    assert failed.error_message == (
        "stored data of the days asked for is damaged; the operator has to repair it"
    )
    clear(settings, ledger, NOW)
    assert left_over(settings) == []


def test_a_defect_fails_the_job_without_quoting_what_it_saw(
    ask: Ask, work: Run, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"row of {USER}")

    monkeypatch.setattr("export_pipeline.exports.service.make_published", broken)
    job = ask()
    with pytest.raises(RuntimeError):
        work(job)
    failed = ledger.jobs.get(job.id, NOW)
    assert failed.error_code == "INTERNAL_ERROR"
    assert USER not in str(failed.error_message)


@pytest.mark.parametrize(
    "error",
    [
        TransientError("the rows were changed by others; try again"),
        OperationalError("update jobs", {}, Exception("database is locked")),
    ],
)
def test_what_may_pass_is_left_to_a_second_attempt_and_then_fails(
    ask: Ask, work: Run, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("export_pipeline.exports.service.make_published", lost)
    job = ask()
    for attempt, state in ((1, "processing"), (2, "failed")):
        with pytest.raises(type(error)):
            work(job, attempt)
        assert ledger.jobs.get(job.id, NOW).state == state
    assert ledger.jobs.get(job.id, NOW).error_code == "SERVICE_UNAVAILABLE"


def test_a_ledger_that_is_locked_for_a_while_holds_a_job_up_and_no_more(
    land: Land, ask: Ask, work: Run, settings: Settings, ledger: Ledger
) -> None:
    land([row(n) for n in range(5)])
    job = ask()
    with ThreadPoolExecutor(1) as pool:
        with ledger._engine.begin() as writing:
            writing.exec_driver_sql("update jobs set processed_rows = 0")
            working = pool.submit(work, job)
            # Who holds the job's lock writes next.
            until(lambda: locks.is_held(settings, lock_name(job.id)))
            assert not working.done()
        assert working.result().state == "complete"


def test_a_day_that_left_retention_while_the_job_waited_fails_it(ask: Ask, work: Run, ledger: Ledger) -> None:
    job = ask()
    with pytest.raises(OutsideRetention):
        work(job, clock=lambda: NOW + timedelta(days=100))
    assert ledger.jobs.get(job.id, NOW).error_code == "OUTSIDE_RETENTION"
