"""What is asked for survives the death of everything that does it: exports, runs of the UI, an erasure."""

import json
import os
import signal
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from export_pipeline.days import utc_now
from export_pipeline.events.sample import write_sample
from export_pipeline.exports import verify
from export_pipeline.exports.service import lock_name, request_export
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Job, Ledger
from export_pipeline.ledger.posting import EXPORT_READY
from export_pipeline.locks import is_held
from export_pipeline.privacy.asking import request_access
from export_pipeline.settings import Settings, load, variable
from export_pipeline.store import Store
from export_pipeline.store.views import query
from export_pipeline_tests.delivery.receivers import Receiver, receiver
from export_pipeline_tests.integration.stack import Stack, eventually, log_folder, running
from export_pipeline_tests.privacy.walker import find

QUIET = {variable("export_hour"): "23"}
"""No schedule exports anything meanwhile."""

_LAUNCH = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } } } }
"""
_RUN = """
query ($id: ID!) { runOrError(runId: $id) { ... on Run { status
    eventConnection { events { ... on ExecutionStepOutputEvent { metadataEntries { label
        ... on TextMetadataEntry { text } ... on UrlMetadataEntry { url } } }
        ... on LogMessageEvent { message } } } } } }
"""


class Asked:
    """A deployment with a day of events, and what is asked of it."""

    def __init__(self, settings: Settings, day: date) -> None:
        self.settings, self.day = settings, day
        self.store, self.ledger = Store(settings), Ledger(settings)

    def ask(self, **values: Any) -> str:
        dates = {"startDate": str(self.day), "endDate": str(self.day)}
        job = request_export(
            self.settings, self.store, self.ledger, {**dates, **values}, now=utc_now(), created_by="key_1"
        )
        return job.id

    def job(self, job_id: str) -> Job:
        return self.ledger.jobs.get(job_id, utc_now())


def kill_everything(home: Path) -> None:
    """Kill web server, daemon, code servers and run workers of the stack on ``home``, as a power cut does."""
    for entry in Path("/proc").iterdir():
        try:
            environ = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
            if f"{variable('home')}={home}\0".encode() in environ:
                os.kill(int(entry.name), signal.SIGKILL)
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue


@pytest.fixture(scope="module")
def told() -> Iterator[Receiver]:
    """A receiver that is told of every export that is ready."""
    with receiver() as there:
        yield there


@pytest.fixture(scope="module")
def asked(told: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    home, allowed = str(tmp_path_factory.mktemp("home")), told.url.removesuffix("/hook")
    settings = load({variable("home"): home, variable("webhook_allow"): allowed})
    Ledger(settings).webhooks.create(told.url, [EXPORT_READY], "", utc_now())
    day = utc_now().date() - timedelta(days=2)
    write_sample(settings.landing, 1, day, 3000, 50, 1)
    ingest_landing(settings, Store(settings), Ledger(settings))
    return Asked(settings, day)


@pytest.fixture(scope="module")
def interrupted(asked: Asked) -> list[str]:
    """A job that was being worked on when everything died, and jobs asked for while nothing ran."""
    ids = [asked.ask()]
    home = asked.settings.root
    with running(home, {**QUIET, variable("fault_point"): "export.written"}):
        eventually(
            "the first worker is dead",
            lambda: asked.job(ids[0]).attempt == 1 and not is_held(asked.settings, lock_name(ids[0])),
        )
        kill_everything(home)
    assert asked.job(ids[0]).state == "processing"
    assert not (asked.settings.exports / "on_demand").exists()
    return [*ids, *(asked.ask(format=format_) for format_ in ("csv", "jsonl", "csv"))]


@pytest.fixture(scope="module")
def again(asked: Asked, interrupted: list[str]) -> Iterator[Stack]:
    """The stack after the power cut."""
    allowed = {variable("webhook_allow"): asked.settings.webhook_allow}
    with running(asked.settings.root, QUIET | allowed) as stack:
        yield stack


def test_every_job_is_complete_after_everything_was_killed(
    asked: Asked, again: Stack, interrupted: list[str]
) -> None:
    for job_id in interrupted:
        eventually(f"the end of {job_id}", lambda job_id=job_id: asked.job(job_id).ended_at)
    jobs = [asked.job(job_id) for job_id in interrupted]
    assert [job.state for job in jobs] == ["complete"] * 4
    assert [job.attempt for job in jobs] == [2, 1, 1, 1]
    assert len({job.rows for job in jobs}) == 1
    report = verify(asked.settings.exports / "on_demand")
    assert (report.problems, report.exports) == ((), 4)
    assert list((asked.settings.tmp / "exports").iterdir()) == []


def test_every_job_is_told_once_to_who_subscribed(
    asked: Asked, again: Stack, interrupted: list[str], told: Receiver
) -> None:
    def exports() -> set[str]:
        return {json.loads(got.body)["data"]["exportId"] for got in told.got}

    eventually("a message for each export", lambda: exports() >= set(interrupted))
    assert len(told.ids) == len(set(told.ids))


def test_a_run_of_the_form_is_listed_and_shows_its_progress_and_link(asked: Asked, again: Stack) -> None:
    form = {"start_date": str(asked.day), "end_date": str(asked.day), "data_types": ["quality", "ads"]}
    launched = again.graphql(
        _LAUNCH,
        params={
            "selector": {
                "repositoryName": "__repository__",
                "repositoryLocationName": "export_pipeline",
                "jobName": "on_demand_export",
            },
            "runConfigData": {"ops": {"export_on_demand": {"config": form}}},
            "mode": "default",
        },
    )["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]

    def ended() -> Any:
        found = again.graphql(_RUN, id=run_id)["runOrError"]
        return found if found["status"] in ("SUCCESS", "FAILURE") else None

    run = eventually("the end of the run", ended)
    events = run["eventConnection"]["events"]
    shown = {
        entry["label"]: entry.get("text") or entry.get("url")
        for event in events
        for entry in event.get("metadataEntries", [])
    }
    (job, *_), _, _ = asked.ledger.jobs.list(utc_now())
    assert run["status"] == "SUCCESS"
    assert (shown["jobId"], job.state, job.created_by) == (job.id, "complete", "dagster")
    assert "/v1/downloads/" in str(shown["download"])
    assert any(" %: " in event.get("message", "") for event in events)


def test_an_access_export_is_made_and_nothing_but_store_and_archive_holds_the_id(
    asked: Asked, again: Stack
) -> None:
    settings = asked.settings
    counted = "select userId from engagement_events group by userId order by count(*) desc, userId limit 1"
    ((user,),) = query(settings, asked.store, counted).fetchall()
    job_id = request_access(settings, asked.ledger, user, now=utc_now(), created_by="key_1").id
    eventually("the end of the access export", lambda: asked.job(job_id).ended_at)
    job = asked.job(job_id)
    assert (job.state, bool(job.rows)) == ("complete", True)
    # The exports of this module are of everybody, lines of the sample that were refused of anybody.
    data = [settings.store, settings.exports, settings.quarantine]
    for path in (*settings.root.rglob("*"), *log_folder(settings.root).rglob("*")):
        if path.is_file() and not any(path.is_relative_to(folder) for folder in data):
            assert user.encode() not in path.read_bytes(), path


def test_a_person_is_erased_while_everything_runs_and_is_nowhere_after_what_had_happened(
    asked: Asked, again: Stack
) -> None:
    (path, *_) = asked.store.files("engagement_events")
    users = pq.read_table(path, columns=["userId"], partitioning=None)["userId"].to_pylist()
    user = next(each for each in users if each.startswith("user_"))
    assert find(asked.settings.root, [user])
    refused = request_export(
        asked.settings,
        asked.store,
        asked.ledger,
        {"startDate": str(asked.day), "endDate": str(asked.day), "filters": {"userIds": [user]}},
        now=utc_now(),
        created_by="key_1",
    )
    asked.ledger.jobs.fail(refused.id, "INTERNAL_ERROR", "for the test", utc_now())
    erasures = asked.ledger.erasures
    request_id = erasures.create([user], "key_1", utc_now())[0].id
    eventually("the end of the erasure", lambda: erasures.get(request_id).ended_at)
    request = erasures.get(request_id)
    assert (request.state, request.error_message) == ("complete", None)
    assert find(asked.settings.root, [user]) == []
    assert find(log_folder(asked.settings.root), [user]) == []
    assert verify(asked.settings.exports).problems == ()
