"""Requests become runs in their turn, each once, and a run of the form is a request like any other."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import Deployment
from export_pipeline.defs.requests import MOST_RUNS
from export_pipeline.exports import verify
from export_pipeline.exports.service import lock_name, request_export
from export_pipeline.ledger import Job
from export_pipeline_tests.defs.conftest import AddRows, days_ago, keys, look_at

JOB, OP = "on_demand_export", "export_on_demand"
look = partial(look_at, "on_demand_exports")
USER = "user_00000003"


@pytest.fixture
def instance(kept_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    return kept_instance


@pytest.fixture
def ask(deployment: Deployment) -> Any:
    def asked(**values: Any) -> Job:
        dates = {"startDate": str(days_ago(2)), "endDate": str(days_ago(1))}
        return request_export(
            deployment.settings,
            deployment.store,
            deployment.ledger,
            {**dates, **values},
            now=utc_now(),
            created_by="key_1",
        )

    return asked


def run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, config: dict[str, Any], **more: Any
) -> Any:
    job = definitions.get_repository_def().get_job(JOB)
    return job.execute_in_process(
        run_config={"ops": {OP: {"config": config}}}, instance=instance, raise_on_error=False, **more
    )


def launched(
    definitions: dg.Definitions, instance: dg.DagsterInstance, job: Job, status: dg.DagsterRunStatus
) -> dg.DagsterRun:
    """A run of the sensor that has got as far as ``status``."""
    return instance.create_run_for_job(
        definitions.get_repository_def().get_job(JOB),
        run_config={"ops": {OP: {"config": {"job_id": job.id}}}},
        tags={"export_pipeline/job": job.id},
        status=status,
    )


def metadata(result: Any) -> dict[str, Any]:
    (output,) = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def told(result: Any) -> str:
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    return str(failure.step_failure_data.user_failure_data.description)


def test_a_request_becomes_a_run_that_completes_it_and_shows_its_link(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    deployment: Deployment,
    add_rows: AddRows,
    ask: Any,
) -> None:
    add_rows(days_ago(1), 5)
    job = ask()
    (request,) = look(definitions, instance).run_requests
    assert (request.run_key, request.tags["export_pipeline/job"]) == (f"{job.id}:1", job.id)
    result = run(definitions, instance, request.run_config["ops"][OP]["config"], tags=dict(request.tags))
    assert result.success
    shown = metadata(result)
    assert (shown["jobId"], shown["status"], shown["rows"]) == (job.id, "complete", 5)
    assert "/v1/downloads/" in shown["download"]
    assert verify(deployment.settings.exports).ok
    assert keys(look(definitions, instance)) == []


def test_three_are_made_at_once_and_the_others_wait_in_order(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment, ask: Any
) -> None:
    jobs = [ask() for _ in range(5)]
    assert keys(look(definitions, instance)) == [f"{job.id}:1" for job in jobs[:3]]
    for job in jobs[:3]:
        launched(definitions, instance, job, dg.DagsterRunStatus.STARTING)
    assert look(definitions, instance).skip_message == "3 exports are being made; 2 wait for their turn."
    deployment.ledger.jobs.cancel(jobs[1].id, utc_now())
    assert keys(look(definitions, instance)) == [f"{jobs[3].id}:1"]


def begin(deployment: Deployment, job: Job, attempt: int = 1) -> None:
    deployment.ledger.jobs.start(job.id, attempt, utc_now())


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE])
def test_a_job_whose_run_died_is_tried_once_more_and_then_failed(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    deployment: Deployment,
    ask: Any,
    status: dg.DagsterRunStatus,
) -> None:
    job = ask()
    launched(definitions, instance, job, status)
    begin(deployment, job)
    assert keys(look(definitions, instance)) == [f"{job.id}:2"]
    launched(definitions, instance, job, dg.DagsterRunStatus.STARTING)
    assert keys(look(definitions, instance)) == []
    begin(deployment, job, 2)
    assert keys(look(definitions, instance)) == []
    failed = deployment.ledger.jobs.get(job.id, utc_now())
    assert (failed.state, failed.error_code) == ("failed", "INTERNAL_ERROR")
    assert "was interrupted each time it was tried" in str(failed.error_message)


def test_a_run_that_died_before_it_began_is_followed_by_another(
    definitions: dg.Definitions, instance: dg.DagsterInstance, ask: Any
) -> None:
    job = ask()
    launched(definitions, instance, job, dg.DagsterRunStatus.FAILURE)
    assert keys(look(definitions, instance)) == [f"{job.id}:2"]


def test_a_run_that_was_launched_and_never_began_is_followed_by_another(
    definitions: dg.Definitions, instance: dg.DagsterInstance, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ask()
    launched(definitions, instance, job, dg.DagsterRunStatus.STARTING)
    assert keys(look(definitions, instance)) == []
    monkeypatch.setattr("export_pipeline.defs.requests.LONGEST_LAUNCH", timedelta())
    assert keys(look(definitions, instance)) == [f"{job.id}:2"]


def test_a_job_whose_runs_never_begin_is_given_up_at_last(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment, ask: Any
) -> None:
    job = ask()
    for _ in range(MOST_RUNS - 1):
        launched(definitions, instance, job, dg.DagsterRunStatus.FAILURE)
    assert keys(look(definitions, instance)) == [f"{job.id}:{MOST_RUNS}"]
    launched(definitions, instance, job, dg.DagsterRunStatus.FAILURE)
    assert keys(look(definitions, instance)) == []
    assert deployment.ledger.jobs.get(job.id, utc_now()).state == "failed"


def test_a_job_somebody_works_on_is_left_alone(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment, ask: Any
) -> None:
    job = ask()
    launched(definitions, instance, job, dg.DagsterRunStatus.STARTED)
    with deployment.ledger.lock(lock_name(job.id)):
        begin(deployment, job)
        assert look(definitions, instance).skip_message == "1 exports are being made; 0 wait for their turn."


def test_a_run_cancelled_in_the_ui_cancels_its_job(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment, ask: Any
) -> None:
    job = ask()
    launched(definitions, instance, job, dg.DagsterRunStatus.CANCELED)
    begin(deployment, job)
    assert keys(look(definitions, instance)) == []
    assert deployment.ledger.jobs.get(job.id, utc_now()).state == "cancelled"


def test_a_run_for_a_job_that_has_ended_does_nothing(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment, ask: Any
) -> None:
    job = ask()
    deployment.ledger.jobs.cancel(job.id, utc_now())
    result = run(definitions, instance, {"job_id": job.id})
    assert result.success
    assert metadata(result) == {"jobId": job.id, "status": "cancelled"}


def test_users_of_a_request_are_nowhere_in_the_run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, add_rows: AddRows, ask: Any
) -> None:
    add_rows(days_ago(1), 10)
    job = ask(filters={"userIds": [USER]})
    (request,) = look(definitions, instance).run_requests
    result = run(definitions, instance, request.run_config["ops"][OP]["config"], tags=dict(request.tags))
    assert metadata(result)["rows"] == 2
    logged = "".join(str(entry) for entry in instance.all_logs(result.run_id)) + str(
        instance.get_run_by_id(result.run_id)
    )
    assert job.id in logged
    assert USER not in logged


def test_the_form_asks_for_an_export_like_any_other(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    deployment: Deployment,
    add_rows: AddRows,
) -> None:
    add_rows(days_ago(1), 7)
    add_rows(days_ago(1), 3, "ads")
    result = run(
        definitions,
        instance,
        {
            "start_date": str(days_ago(1)),
            "end_date": str(days_ago(1)),
            "data_types": ["ads", "events"],
            "format": "csv",
            "compression": "none",
            "content_ids": ["vid_0", "vid_1"],
            "event_types": ["impression"],
        },
    )
    assert result.success
    (job,), _, _ = deployment.ledger.jobs.list(utc_now())
    assert (job.created_by, job.state, job.rows) == ("dagster", "complete", 4)
    assert job.request["dataTypes"] == ["ads", "events"]
    assert metadata(result)["jobId"] == job.id
    assert instance.get_run_by_id(result.run_id).tags["export_pipeline/job"] == job.id  # type: ignore[union-attr]
    assert verify(deployment.settings.exports / "on_demand").ok


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({}, "VALIDATION_ERROR: startDate is missing"),
        ({"start_date": "yesterday", "end_date": "2026-01-01"}, "startDate is 'yesterday'"),
        ({"job_id": "exp_nothing"}, "NOT_FOUND: there is no such job; jobId must be the id of one"),
        ({"job_id": "exp_x", "start_date": "2026-01-01"}, "job_id is given together with dates"),
    ],
)
def test_a_form_that_cannot_be_is_refused_in_words(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    deployment: Deployment,
    form: dict[str, str],
    said: str,
) -> None:
    result = run(definitions, instance, form)
    assert said in told(result)
    assert deployment.ledger.jobs.list(utc_now())[2] == 0


@pytest.mark.parametrize(("name", "value"), [("format", "xml"), ("data_types", ["everything"])])
def test_a_form_offers_only_what_there_is(
    definitions: dg.Definitions, instance: dg.DagsterInstance, name: str, value: object
) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match=name):
        run(definitions, instance, {"start_date": "2026-01-01", "end_date": "2026-01-01", name: value})


def test_a_failed_export_says_why_in_the_run_and_in_the_job(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    deployment: Deployment,
    add_rows: AddRows,
    ask: Any,
) -> None:
    add_rows(days_ago(1), 5)
    job = ask()
    for path in deployment.store.files("engagement_events"):
        Path(path).unlink()
    assert "is missing" in told(run(definitions, instance, {"job_id": job.id}))
    assert deployment.ledger.jobs.get(job.id, utc_now()).state == "failed"
