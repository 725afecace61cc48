"""Dagster delivers what is due in one run, shows each attempt, and is red while one has failed for good."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from export_pipeline.days import utc_now
from export_pipeline.definitions import build_defs
from export_pipeline.defs.deployment import Deployment
from export_pipeline_tests.delivery.outboxes import Outbox
from export_pipeline_tests.delivery.receivers import Receiver, receiver

KEY = dg.AssetKey("deliveries")


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def outbox(tmp_path: Path, there: Receiver) -> Outbox:
    return Outbox(
        tmp_path / "home",
        webhook_allow=there.url.removesuffix("/hook"),
        operator_email="operator@example.com",
        smtp_host="localhost",
        smtp_port="9",
    )


@pytest.fixture
def definitions(outbox: Outbox) -> dg.Definitions:
    deployment = Deployment(outbox.settings)
    return build_defs(settings=outbox.settings, resource_overrides={"deployment": deployment})


def run(definitions: dg.Definitions, instance: dg.DagsterInstance, job: str) -> dg.ExecuteInProcessResult:
    return definitions.get_repository_def().get_job(job).execute_in_process(instance=instance)


def look(definitions: dg.Definitions, instance: dg.DagsterInstance, sensor: str) -> SensorExecutionData:
    repository = definitions.get_repository_def()
    resources = dict(repository.get_top_level_resources())
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        return repository.get_sensor_def(sensor).evaluate_tick(context)


def passed(instance: dg.DagsterInstance) -> bool:
    check = dg.AssetCheckKey(KEY, "all_delivered")
    (record,) = instance.event_log_storage.get_asset_check_execution_history(check, limit=1)
    assert record.event is not None
    evaluation = record.event.get_dagster_event().asset_check_evaluation_data
    return evaluation.passed


def test_all_that_is_due_is_delivered_by_one_run_that_shows_each_attempt(
    definitions: dg.Definitions, instance: dg.DagsterInstance, outbox: Outbox, there: Receiver
) -> None:
    assert "No message is due" in (look(definitions, instance, "deliveries").skip_message or "")
    there.reply = lambda _, n: (500 if n == 0 else 200, {}, b"")
    webhook_id = outbox.endpoint(there.url)
    outbox.fail_job()
    outbox.fail_job()
    (request,) = look(definitions, instance, "deliveries").run_requests or []
    assert request.tags["export_pipeline/reason"] == "messages that are due: 2"
    result = run(definitions, instance, "deliver_due")
    (output,) = (event for event in result.all_events if event.is_successful_output)
    shown = output.step_output_data.metadata
    assert (shown["delivered"].value, shown["toBeTriedAgain"].value) == (1, 1)
    table = str(shown["attempts"].value)
    assert all(message.id in table for message in outbox.messages())
    assert f"| {webhook_id} | export.failed | 1 | answered 500 |" in table
    assert passed(instance)
    (observed,) = instance.fetch_observations(KEY, limit=1).records
    assert observed.asset_observation is not None
    assert observed.asset_observation.metadata["delivered"].value == 1
    assert "The next is due at" in (look(definitions, instance, "deliveries").skip_message or "")


def test_the_check_is_red_until_what_failed_was_delivered_by_hand(
    definitions: dg.Definitions, instance: dg.DagsterInstance, outbox: Outbox, there: Receiver
) -> None:
    there.reply = lambda _, n: (410 if n == 0 else 200, {}, b"")
    webhook_id = outbox.endpoint(there.url)
    outbox.fail_job()
    run(definitions, instance, "deliver_due")
    assert not passed(instance)
    outbox.ledger.webhooks.change(webhook_id, utc_now(), status="active")
    outbox.ledger.messages.retry(outbox.messages()[0].id, utc_now())
    run(definitions, instance, "deliver_due")
    assert passed(instance)
    result = run(definitions, instance, "alerts")
    verdicts = {check.asset_key: check.passed for check in result.get_asset_check_evaluations()}
    assert verdicts[KEY]


def test_the_operator_is_told_once_by_e_mail_and_no_run_shows_the_address(
    definitions: dg.Definitions, instance: dg.DagsterInstance, outbox: Outbox, there: Receiver
) -> None:
    there.reply = lambda _, __: (410, {}, b"")
    webhook_id = outbox.endpoint(there.url)
    outbox.fail_job()
    outbox.deliver()
    told = look(definitions, instance, "operator_mail").skip_message or ""
    assert f"disabled webhook: {webhook_id}" in told
    assert f"failed delivery: {webhook_id}" in told
    for _ in range(3):
        assert look(definitions, instance, "operator_mail").skip_message == "Nothing new to tell."
    (mail,) = (message for message in outbox.messages() if message.webhook_id is None)
    assert len([alert for alert in mail.data["alerts"] if webhook_id in alert]) == 2
    result = run(definitions, instance, "deliver_due")
    assert not [event for event in result.all_events if "operator@example.com" in str(event)]
    logged = instance.all_logs(result.run_id)
    assert not [entry for entry in logged if "operator@example.com" in str(entry)]


def test_no_second_run_starts_beside_one_that_delivers(
    definitions: dg.Definitions, instance: dg.DagsterInstance, outbox: Outbox, there: Receiver
) -> None:
    outbox.endpoint(there.url)
    outbox.fail_job()
    job = definitions.get_repository_def().get_job("deliver_due")
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    skipped = look(definitions, instance, "deliveries").skip_message or ""
    assert "a run of deliver_due is under way already" in skipped
