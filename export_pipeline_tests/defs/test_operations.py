from datetime import timedelta

import dagster as dg
import pytest

from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import Deployment
from export_pipeline.ledger import Counts
from export_pipeline_tests.defs.conftest import AddRows, days_ago


def run(definitions: dg.Definitions, instance: dg.DagsterInstance, job: str) -> dg.ExecuteInProcessResult:
    return definitions.get_repository_def().get_job(job).execute_in_process(instance=instance)


def verdict(result: dg.ExecuteInProcessResult, table: str, name: str) -> tuple[bool, str | None]:
    (found,) = (
        check
        for check in result.get_asset_check_evaluations()
        if (check.asset_key.to_user_string(), check.check_name) == (table, name)
    )
    return found.passed, found.description


def test_maintenance_merges_small_files_and_says_so(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment, add_rows: AddRows
) -> None:
    for _ in range(6):
        add_rows(days_ago(1), 20)
    before = len(deployment.store.files("engagement_events"))
    result = run(definitions, instance, "maintenance")
    assert len(deployment.store.files("engagement_events")) < before
    (output,) = (event for event in result.all_events if event.is_successful_output)
    done = output.step_output_data.metadata["engagement_events"].value
    assert isinstance(done, dict)
    assert done["compacted"][0]["day"] == str(days_ago(1))


def test_a_data_type_that_went_silent_is_told(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    add_rows: AddRows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_rows(days_ago(1), 1)
    assert verdict(run(definitions, instance, "alerts"), "engagement_events", "receives_events")[0]
    later = utc_now() + timedelta(hours=25)
    monkeypatch.setattr("export_pipeline.defs.operations.utc_now", lambda: later)
    passed, text = verdict(run(definitions, instance, "alerts"), "engagement_events", "receives_events")
    assert not passed
    assert "nothing has landed since" in str(text)


def test_a_large_share_in_quarantine_is_told_of_its_data_type_only(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment
) -> None:
    batch = deployment.ledger.take_batch("ads", "test", (), utc_now())
    deployment.ledger.commit_batch(batch.id, Counts(received=10, rejected=10), {}, utc_now())
    result = run(definitions, instance, "alerts")
    assert not verdict(result, "ad_events", "quarantine_share")[0]
    assert verdict(result, "engagement_events", "quarantine_share")[0]
