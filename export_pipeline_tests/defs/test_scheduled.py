"""Schedules see what is due and their runs queue it; each job is then made by a run of its own."""

from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from export_pipeline.days import midnight, utc_now
from export_pipeline.defs.deployment import Deployment
from export_pipeline.delivery.recurring import create
from export_pipeline.exports import verify
from export_pipeline.ledger.schedules import Schedule
from export_pipeline.settings import Settings
from export_pipeline_tests.defs.conftest import AddRows, days_ago
from export_pipeline_tests.defs.test_on_demand import look as look_at_jobs
from export_pipeline_tests.defs.test_on_demand import metadata
from export_pipeline_tests.defs.test_on_demand import run as run_export

JOB = "queue_scheduled_exports"
USER = "user_00000003"


@pytest.fixture
def instance(kept_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    return kept_instance


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"export_hour": 0})


def look(definitions: dg.Definitions, instance: dg.DagsterInstance, frequency: str = "daily") -> Any:
    repository = definitions.get_repository_def()
    with dg.build_schedule_context(
        instance=instance,
        resources=dict(repository.get_top_level_resources()),
        scheduled_execution_time=utc_now(),
        repository_def=repository,
    ) as context:
        return repository.get_schedule_def(f"scheduled_exports_{frequency}").evaluate_tick(context)


def run(definitions: dg.Definitions, instance: dg.DagsterInstance, request: Any) -> Any:
    job = definitions.get_repository_def().get_job(JOB)
    return job.execute_in_process(
        run_config=request.run_config, instance=instance, tags=dict(request.tags), raise_on_error=False
    )


def scheduled(deployment: Deployment, days_before: int = 0, **values: Any) -> Schedule:
    """A schedule made at the beginning of a day."""
    given = {"frequency": "daily", "delivery": {"email": "data@example.com"}, **values}
    now = midnight(days_ago(days_before))
    return create(deployment.settings, deployment.ledger, given, now, created_by="command")[0]


def test_what_is_due_is_queued_once_and_made_by_a_run_of_its_own(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment, add_rows: AddRows
) -> None:
    add_rows(days_ago(1), 6)
    schedule = scheduled(deployment, filters={"userIds": [USER, "user_00000004"]})
    (request,) = look(definitions, instance).run_requests
    queued = run(definitions, instance, request)
    shown = metadata(queued)
    export_id = f"exp_daily_{days_ago(0):%Y%m%d}_{schedule.id}"
    assert (shown["queued"], shown["caughtUp"], shown["leftOut"]) == (1, 0, 0)
    assert export_id in shown["exports"]
    assert look(definitions, instance).skip_message == "Nothing is due."
    (making,) = look_at_jobs(definitions, instance).run_requests
    assert (making.run_key, making.tags["export_pipeline/kind"]) == (f"{export_id}:1", "scheduled")
    config = making.run_config["ops"]["export_on_demand"]["config"]
    made = run_export(definitions, instance, config, tags=dict(making.tags))
    assert made.success
    assert (metadata(made)["rows"], metadata(made)["status"]) == (2, "complete")
    assert verify(deployment.settings.exports / "scheduled").ok
    assert deployment.ledger.messages.waiting(utc_now())[0] == 1
    for ran in (queued, made):
        told = "".join(map(str, instance.all_logs(ran.run_id))) + str(instance.get_run_by_id(ran.run_id))
        assert USER not in told


def test_what_was_missed_is_said_to_be_caught_up(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment
) -> None:
    schedule = scheduled(deployment, days_before=3)
    (request,) = look(definitions, instance).run_requests
    assert request.tags["export_pipeline/reason"] == "4 deliveries are due, 3 of them missed before"
    ran = run(definitions, instance, request)
    assert (metadata(ran)["queued"], metadata(ran)["caughtUp"]) == (1, 3)
    said = "".join(map(str, instance.all_logs(ran.run_id)))
    assert f"exp_daily_{days_ago(2):%Y%m%d}_{schedule.id} was missed at its time and is caught up." in said


def test_a_schedule_looks_at_its_own_and_says_what_it_waits_for(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schedule = scheduled(deployment, days_before=7, frequency="weekly")
    assert look(definitions, instance).skip_message == "Nothing is due."
    assert look(definitions, instance, "weekly").run_requests
    monkeypatch.setattr("export_pipeline.exports.scheduled.is_closed", lambda *_: False)
    assert look(definitions, instance, "weekly").skip_message.startswith(f"{schedule.id} waits: ")
    monkeypatch.undo()
    later = utc_now() + timedelta(days=200)
    monkeypatch.setattr("export_pipeline.defs.scheduled.utc_now", lambda: later)
    (request,) = look(definitions, instance, "weekly").run_requests
    assert metadata(run(definitions, instance, request))["leftOut"] > 10
