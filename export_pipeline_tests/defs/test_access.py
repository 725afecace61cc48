"""Access requests become runs that make the archive; nothing that Dagster keeps holds the id of anybody."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from export_pipeline.days import utc_now
from export_pipeline.defs.access import JOB
from export_pipeline.defs.deployment import Deployment
from export_pipeline.defs.requests import JOB_TAG
from export_pipeline.exports.archives import archive_problems
from export_pipeline.ledger import Job
from export_pipeline.privacy.asking import request_access
from export_pipeline_tests.defs.conftest import AddRows, days_ago, keys, look_at
from export_pipeline_tests.privacy.people import add_links

USER, DEVICE = "user_00000003", "user_00000001"


@pytest.fixture
def instance(kept_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    return kept_instance


look = partial(look_at, "access_exports")


def ask(deployment: Deployment, user_id: str = USER) -> Job:
    return request_access(deployment.settings, deployment.ledger, user_id, now=utc_now(), created_by="key_1")


def run(definitions: dg.Definitions, instance: dg.DagsterInstance, job_id: str) -> Any:
    job = definitions.get_repository_def().get_job(JOB)
    return job.execute_in_process(
        run_config={"job_id": job_id}, instance=instance, raise_on_error=False, tags={JOB_TAG: job_id}
    )


def launched(
    definitions: dg.Definitions, instance: dg.DagsterInstance, job: Job, status: dg.DagsterRunStatus
) -> dg.DagsterRun:
    return instance.create_run_for_job(
        definitions.get_repository_def().get_job(JOB),
        run_config={"job_id": job.id},
        tags={JOB_TAG: job.id},
        status=status,
    )


def metadata(result: Any) -> list[dict[str, Any]]:
    return [
        {name: value.value for name, value in event.step_output_data.metadata.items()}
        for event in result.all_events
        if event.is_successful_output
    ]


def test_a_request_becomes_a_run_whose_ops_show_counts(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment, add_rows: AddRows
) -> None:
    add_rows(days_ago(1), 20)
    add_links(deployment.store, [(USER, DEVICE), ("somebody", DEVICE)])
    job = ask(deployment)
    (request,) = look(definitions, instance).run_requests
    assert (request.run_key, request.run_config) == (f"{job.id}:1", {"job_id": job.id})
    result = run(definitions, instance, job.id)
    assert result.success
    collected, published = metadata(result)
    assert collected == {
        "jobId": job.id, "engagement_events": 4, "quality_events": 0, "ad_events": 0,
        "withheld": 4, "linkedIds": 0, "contestedIds": 1,
    }  # fmt: skip
    assert (published["status"], published["rows"], published["withheld"]) == ("complete", 4, 4)
    (archive,) = deployment.settings.exports.rglob("*.zip")
    assert archive_problems(archive) == []
    assert keys(look(definitions, instance)) == []


def test_nothing_that_dagster_keeps_holds_the_id(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    deployment: Deployment,
    add_rows: AddRows,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    add_rows(days_ago(1), 20)
    good, bad = ask(deployment), ask(deployment)
    run(definitions, instance, good.id)
    for path in deployment.store.files("engagement_events"):
        Path(path).write_bytes(b"PAR1")
    failed = run(definitions, instance, bad.id)
    assert not failed.success
    kept = [
        repr(record.dagster_run) + repr(record.dagster_run.run_config) + repr(record.dagster_run.tags)
        for record in instance.get_run_records()
    ]
    for run_record in instance.get_run_records():
        kept += [repr(entry) for entry in instance.all_logs(run_record.dagster_run.run_id)]
    kept += [record.getMessage() for record in caplog.records]
    kept += list(capfd.readouterr())
    stored = [path for path in Path(instance.root_directory).rglob("*") if path.is_file()]
    kept += [path.read_bytes().decode("latin-1") for path in stored]
    assert good.id in "".join(kept)
    assert not [text for text in kept if USER in text]


def test_two_are_made_at_once_and_the_others_wait_in_order(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment
) -> None:
    jobs = [ask(deployment) for _ in range(4)]
    assert keys(look(definitions, instance)) == [f"{job.id}:1" for job in jobs[:2]]
    launched(definitions, instance, jobs[0], dg.DagsterRunStatus.STARTED)
    assert keys(look(definitions, instance)) == [f"{jobs[1].id}:1"]


def test_a_request_whose_run_died_is_tried_once_more_and_then_failed(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment
) -> None:
    job = ask(deployment)
    for attempt in (1, 2):
        launched(definitions, instance, job, dg.DagsterRunStatus.FAILURE)
        deployment.ledger.jobs.start(job.id, attempt, utc_now())
        assert keys(look(definitions, instance)) == ([f"{job.id}:2"] if attempt == 1 else [])
    assert deployment.ledger.jobs.get(job.id, utc_now()).state == "failed"


def test_a_run_that_was_cancelled_cancels_its_request(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment
) -> None:
    job = ask(deployment)
    launched(definitions, instance, job, dg.DagsterRunStatus.CANCELED)
    assert keys(look(definitions, instance)) == []
    assert deployment.ledger.jobs.get(job.id, utc_now()).state == "cancelled"


def test_a_run_for_a_request_that_has_ended_does_nothing(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment
) -> None:
    job = ask(deployment)
    deployment.ledger.jobs.fail(job.id, "SUBJECT_ERASED", "the person was erased", utc_now())
    result = run(definitions, instance, job.id)
    assert result.success
    assert metadata(result)[-1]["status"] == "failed"


def test_a_request_that_is_not_there_is_said(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    result = run(definitions, instance, "usr_exp_0123456789abcdef01234567")
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "NOT_FOUND" in failure.step_failure_data.user_failure_data.description
