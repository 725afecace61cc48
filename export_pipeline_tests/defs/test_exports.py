from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from export_pipeline.definitions import build_defs
from export_pipeline.defs.deployment import Deployment
from export_pipeline.exports import live_daily
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.defs.conftest import AddRows, days_ago

ASSET = "engagement_events_jsonl"


def materialize(
    definitions: dg.Definitions, instance: dg.DagsterInstance, start: date, end: date | None = None
) -> dg.ExecuteInProcessResult:
    job = definitions.get_repository_def().get_job("daily_exports")
    return job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(ASSET)],
        tags={
            "dagster/asset_partition_range_start": str(start),
            "dagster/asset_partition_range_end": str(end or start),
        },
        raise_on_error=False,
    )


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Mapping[str, Any]]:
    """By partition, the metadata of each materialization that a run recorded."""
    events = [event for event in result.all_events if event.is_step_materialization]
    return {
        str(event.partition): {
            name: value.value
            for name, value in event.step_materialization_data.materialization.metadata.items()
        }
        for event in events
    }


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, str]]:
    return {
        check.check_name: (check.passed, check.description or "")
        for check in result.get_asset_check_evaluations()
    }


def reason(result: dg.ExecuteInProcessResult) -> str:
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    told = failure.step_failure_data.user_failure_data
    assert told is not None
    return str(told.description)


def test_each_day_of_a_range_has_its_own_numbers(
    definitions: dg.Definitions, instance: dg.DagsterInstance, settings: Settings, add_rows: AddRows
) -> None:
    add_rows(days_ago(3), 5)
    add_rows(days_ago(2), 7)
    result = materialize(definitions, instance, days_ago(3), days_ago(1))
    assert result.success
    shown = metadata(result)
    assert {day: shown[day]["rows"] for day in shown} == {
        str(days_ago(3)): 5,
        str(days_ago(2)): 7,
        str(days_ago(1)): 0,
    }
    export = live_daily(settings, "events", "jsonl", days_ago(2))
    assert export is not None
    day = shown[str(days_ago(2))]
    assert day["bytes"] == export.bytes
    assert day["exportId"] == export.manifest.export_id
    assert export.sha256[0] in day["sha256"]
    assert day["directory"] == str(export.path)
    assert (day["dataVersion"], day["version"], day["complete"]) == (1, 1, True)


def test_a_preview_shows_no_ids(
    definitions: dg.Definitions, instance: dg.DagsterInstance, add_rows: AddRows
) -> None:
    add_rows(days_ago(2), 3)
    preview = metadata(materialize(definitions, instance, days_ago(2)))[str(days_ago(2))]["preview"]
    assert preview.startswith("| event ")
    assert "userId" not in preview


def test_nothing_a_run_records_holds_a_user_id(
    definitions: dg.Definitions, instance: dg.DagsterInstance, add_rows: AddRows
) -> None:
    add_rows(days_ago(2), 5)
    result = materialize(definitions, instance, days_ago(2))
    recorded = "".join(map(dg.serialize_value, instance.all_logs(result.run_id)))
    assert ASSET in recorded
    assert "user_0000" not in recorded


def test_a_day_that_fails_leaves_the_others_materialized_and_is_named(
    definitions: dg.Definitions, instance: dg.DagsterInstance, settings: Settings, add_rows: AddRows
) -> None:
    oldest = days_ago(settings.raw_retention_days)
    outside = days_ago(settings.raw_retention_days + 1)
    add_rows(oldest, 2)
    result = materialize(definitions, instance, outside, oldest)
    assert not result.success
    assert metadata(result)[str(oldest)]["rows"] == 2
    assert str(outside) not in metadata(result)
    assert reason(result).startswith(f"1 of 2 days failed. {outside}: OUTSIDE_RETENTION")
    assert str(oldest) in verdicts(result)["read_back"][1]


def test_a_day_that_is_not_closed_is_exported_as_not_complete(
    definitions: dg.Definitions, instance: dg.DagsterInstance, add_rows: AddRows
) -> None:
    add_rows(days_ago(0), 1)
    result = materialize(definitions, instance, days_ago(0))
    assert metadata(result)[str(days_ago(0))]["complete"] is False


def test_the_checks_of_a_good_day_pass_and_name_it(
    definitions: dg.Definitions, instance: dg.DagsterInstance, add_rows: AddRows
) -> None:
    add_rows(days_ago(2), 5)
    found = verdicts(materialize(definitions, instance, days_ago(2)))
    assert {name: passed for name, (passed, _) in found.items()} == {
        "read_back": True,
        "row_count": True,
        "volume": True,
        "up_to_date": True,
    }
    assert all(str(days_ago(2)) in text for _, text in found.values())


def test_a_day_without_rows_is_a_warning_that_names_it(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    result = materialize(definitions, instance, days_ago(1))
    assert result.success
    (check,) = (c for c in result.get_asset_check_evaluations() if c.check_name == "volume")
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.description == f"{days_ago(1)} has no rows."


def test_a_damaged_store_file_fails_the_day_by_name(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment, add_rows: AddRows
) -> None:
    add_rows(days_ago(2), 5)
    for file in deployment.store.files("engagement_events"):
        Path(file).write_bytes(Path(file).read_bytes()[:100])
    result = materialize(definitions, instance, days_ago(2))
    assert not result.success
    assert reason(result).startswith(f"1 of 1 days failed. {days_ago(2)}: INTERNAL_ERROR: ")
    assert "store/" in reason(result)
    assert not verdicts(result)["read_back"][0]


def test_what_a_foreign_exception_says_is_not_shown(
    settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, add_rows: AddRows
) -> None:
    class Broken(Store):
        def files(self, table: str, start: date | None = None, end: date | None = None) -> list[str]:
            raise RuntimeError("row of user_00000001 is odd")

    add_rows(days_ago(2), 1)
    deployment = Deployment(settings)
    monkeypatch.setattr(deployment, "store", Broken(settings))
    definitions = build_defs(settings=settings, resource_overrides={"deployment": deployment})
    result = materialize(definitions, instance, days_ago(2))
    assert "INTERNAL_ERROR: RuntimeError in files" in reason(result)
    assert "user_0000" not in "".join(map(dg.serialize_value, instance.all_logs(result.run_id)))
