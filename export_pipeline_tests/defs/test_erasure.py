"""Requests to erase become one run of visible steps, which shows counts and never a person."""

from functools import partial
from typing import Any

import dagster as dg
import pytest

from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import Deployment
from export_pipeline.defs.erasure import JOB, REQUEST_TAG
from export_pipeline.defs.exports import export_key
from export_pipeline.errors import TransientError
from export_pipeline.exports import export_day
from export_pipeline.ledger.erasures import COMPLETE, FAILED
from export_pipeline.locks import lock
from export_pipeline.privacy import erasing
from export_pipeline_tests.defs.conftest import AddRows, days_ago, keys, look_at

look = partial(look_at, "erasures")
USER, OTHER = "user_00000003", "user_00000004"
STEPS = ["resolve", "suppress", "erase_store", "rewrite_exports", "purge", "scan", "certify"]


@pytest.fixture
def instance(kept_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    return kept_instance


@pytest.fixture
def asked(deployment: Deployment) -> list[str]:
    """Two requests that wait."""
    made = (deployment.ledger.erasures.create([user], "key_1", utc_now())[0] for user in (USER, OTHER))
    return [request.id for request in made]


def run(definitions: dg.Definitions, instance: dg.DagsterInstance, request: Any) -> Any:
    job = definitions.get_repository_def().get_job(JOB)
    return job.execute_in_process(
        run_config=request.run_config, tags=dict(request.tags), instance=instance, raise_on_error=False
    )


def launched(
    definitions: dg.Definitions, instance: dg.DagsterInstance, request_id: str, status: dg.DagsterRunStatus
) -> None:
    """A run of the sensor that has got as far as ``status``."""
    instance.create_run_for_job(
        definitions.get_repository_def().get_job(JOB),
        run_config={"request_id": request_id},
        tags={REQUEST_TAG: request_id},
        status=status,
    )


def metadata(result: Any) -> dict[str, dict[str, Any]]:
    return {
        event.step_key: {name: value.value for name, value in event.step_output_data.metadata.items()}
        for event in result.all_events
        if event.is_successful_output
    }


def test_requests_that_wait_become_one_run_of_visible_steps_with_counts_and_certificate(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    deployment: Deployment,
    add_rows: AddRows,
    asked: list[str],
) -> None:
    add_rows(days_ago(1), 10)
    (request,) = look(definitions, instance).run_requests
    assert (request.run_key, request.run_config) == (f"{asked[0]}:1", {"request_id": asked[0]})
    result = run(definitions, instance, request)
    assert result.success
    told = metadata(result)
    assert list(told) == STEPS
    assert told["erase_store"]["engagement_events"] == 4
    assert told["certify"]["certificate"].endswith(f"{asked[0]}.json")
    assert [deployment.ledger.erasures.get(request_id).state for request_id in asked] == [COMPLETE] * 2
    assert keys(look(definitions, instance)) == []
    stored = [str(event) for event in instance.all_logs(result.run_id)]
    stored.append(str(instance.get_run_by_id(result.run_id)))
    assert not any(user in text for text in stored for user in (USER, OTHER))


def test_a_day_that_was_rewritten_shows_its_new_version(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    deployment: Deployment,
    add_rows: AddRows,
    asked: list[str],
) -> None:
    day = days_ago(1)
    add_rows(day, 10)
    export_day(
        "events", "jsonl", day,
        settings=deployment.settings, store=deployment.store, ledger=deployment.ledger, now=utc_now(),
    )  # fmt: skip
    (request,) = look(definitions, instance).run_requests
    assert run(definitions, instance, request).success
    event = instance.get_latest_materialization_event(export_key("events", "jsonl"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.partition == day.isoformat()
    shown = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert (shown["version"], shown["rows"]) == (2, 6)


def test_one_run_at_a_time_and_none_beside_a_command(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment, asked: list[str]
) -> None:
    with lock(deployment.settings, "erasure"):
        assert look(definitions, instance).skip_message == "A command is erasing; 2 requests are open."
    launched(definitions, instance, asked[0], dg.DagsterRunStatus.STARTED)
    assert keys(look(definitions, instance)) == []


def test_a_request_whose_runs_die_is_tried_three_times_and_then_failed(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment, asked: list[str]
) -> None:
    for attempt in (1, 2, 3):
        assert keys(look(definitions, instance)) == [f"{asked[0]}:{attempt}"]
        launched(definitions, instance, asked[0], dg.DagsterRunStatus.FAILURE)
        deployment.ledger.erasures.begin(asked[0], utc_now())
    assert "interrupted each time" in look(definitions, instance).skip_message
    states = [deployment.ledger.erasures.get(request_id) for request_id in asked]
    assert [(each.state, each.error_code) for each in states] == [(FAILED, "INTERNAL_ERROR")] * 2


def test_a_step_that_may_work_the_next_time_is_tried_again(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    asked: list[str],
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[str] = []
    right = erasing.STEPS["purge"]

    def busy(*given: Any) -> Any:
        taken.append("purge")
        if len(taken) == 1:
            raise TransientError("somebody reads the ledger; try again")
        return right(*given)

    monkeypatch.setitem(erasing.STEPS, "purge", busy)  # type: ignore[arg-type]
    (request,) = look(definitions, instance).run_requests
    assert run(definitions, instance, request).success
    assert len(taken) == 2


def test_a_step_that_fails_ends_the_requests_in_words_without_a_person(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    deployment: Deployment,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def defect(*_: Any) -> Any:
        raise ValueError(f"a defect that quotes {USER}")

    monkeypatch.setitem(erasing.STEPS, "purge", defect)  # type: ignore[arg-type]
    (request,) = look(definitions, instance).run_requests
    result = run(definitions, instance, request)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "ValueError in defect" in failure.step_failure_data.user_failure_data.description
    assert not any(USER in str(event) for event in instance.all_logs(result.run_id))
    failed = deployment.ledger.erasures.get(asked[1])
    assert (failed.state, failed.error_code) == (FAILED, "INTERNAL_ERROR")
    assert USER not in str(failed)
    assert keys(look(definitions, instance)) == []


def test_a_form_takes_the_id_of_a_request_only(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment
) -> None:
    job = definitions.get_repository_def().get_job(JOB)
    result = job.execute_in_process(
        run_config={"request_id": "era_unknown"}, instance=instance, raise_on_error=False
    )
    assert not result.success
    assert deployment.ledger.erasures.open() == ()
