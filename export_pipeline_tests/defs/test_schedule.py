import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from export_pipeline.days import utc_now
from export_pipeline.defs.schedule import RETRY_AFTER
from export_pipeline.settings import Settings
from export_pipeline_tests.defs.conftest import AddRows, days_ago

FORMATS = ("jsonl", "csv")
TABLES = ("engagement_events", "quality_events", "ad_events")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A schedule opens the instance by itself, so it cannot be an ephemeral one."""
    with dg.instance_for_test() as kept:
        yield kept


def look(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Any:
    repository = definitions.get_repository_def()
    with dg.build_schedule_context(
        instance=instance,
        resources=dict(repository.get_top_level_resources()),
        scheduled_execution_time=utc_now(),
        repository_def=repository,
    ) as context:
        return repository.get_schedule_def("daily_exports").evaluate_tick(context)


def days(request: dg.RunRequest) -> tuple[str, str]:
    return (
        request.tags["dagster/asset_partition_range_start"],
        request.tags["dagster/asset_partition_range_end"],
    )


def selected(request: dg.RunRequest) -> set[str]:
    return {key.to_user_string() for key in request.asset_selection or ()}


def run(definitions: dg.Definitions, instance: dg.DagsterInstance, request: dg.RunRequest) -> None:
    job = definitions.get_repository_def().get_job("daily_exports")
    assert job.execute_in_process(instance=instance, tags=dict(request.tags)).success


def create_run(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    request: dg.RunRequest,
    status: dg.DagsterRunStatus,
) -> dg.DagsterRun:
    job = definitions.get_repository_def().get_job("daily_exports")
    return instance.create_run_for_job(job, tags=dict(request.tags), status=status)


def test_yesterday_is_exported_in_every_format_once_it_is_closed(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    (request,) = look(definitions, instance).run_requests
    assert days(request) == (str(days_ago(1)),) * 2
    assert selected(request) == {f"{table}_{format_}" for table in TABLES for format_ in FORMATS}


def test_days_missed_in_a_row_are_one_run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, add_rows: AddRows
) -> None:
    add_rows(days_ago(4), 1)
    (request,) = look(definitions, instance).run_requests
    assert days(request) == (str(days_ago(4)), str(days_ago(1)))


def test_an_exported_day_is_not_exported_again(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    (request,) = look(definitions, instance).run_requests
    run(definitions, instance, request)
    assert look(definitions, instance).skip_message == "Every closed day is exported."


def test_a_data_type_of_which_files_wait_for_the_day_waits_and_the_others_go_on(
    definitions: dg.Definitions, instance: dg.DagsterInstance, settings: Settings
) -> None:
    waiting = settings.landing / "quality" / "late.jsonl"
    waiting.parent.mkdir(parents=True)
    event = {"event": "rebuffer", "userId": "user_00000001", "contentId": "vid_1", "deviceType": "ios"}
    waiting.write_text(json.dumps({**event, "timestamp": f"{days_ago(1)}T12:00:00Z"}) + "\n")
    (request,) = look(definitions, instance).run_requests
    assert selected(request) == {f"{table}_{f}" for table in TABLES for f in FORMATS if table != TABLES[1]}
    run(definitions, instance, dg.RunRequest(tags=request.tags))
    waiting.unlink()
    assert selected(look(definitions, instance).run_requests[0]) == {f"quality_events_{f}" for f in FORMATS}


def test_a_day_that_is_being_exported_is_not_started_twice(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    (request,) = look(definitions, instance).run_requests
    create_run(definitions, instance, request, dg.DagsterRunStatus.STARTED)
    assert look(definitions, instance).skip_message == f"{days_ago(1)} is being exported."


def test_a_day_that_failed_is_tried_again_after_a_rest(
    definitions: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    (request,) = look(definitions, instance).run_requests
    instance.report_run_failed(create_run(definitions, instance, request, dg.DagsterRunStatus.STARTED))
    assert "failed and is tried again after" in look(definitions, instance).skip_message
    later = utc_now() + RETRY_AFTER + timedelta(seconds=1)
    monkeypatch.setattr("export_pipeline.defs.schedule.utc_now", lambda: later)
    assert look(definitions, instance).run_requests


def test_a_day_that_is_not_closed_is_told_in_words(
    definitions: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortly_before_midnight = datetime.combine(days_ago(0), datetime.max.time(), utc_now().tzinfo)
    (request,) = look(definitions, instance).run_requests
    run(definitions, instance, request)
    monkeypatch.setattr("export_pipeline.operations.due.is_closed", lambda *_: False)
    monkeypatch.setattr(
        "export_pipeline.defs.schedule.utc_now", lambda: shortly_before_midnight + timedelta(hours=1)
    )
    assert look(definitions, instance).skip_message == (
        f"{days_ago(0)} is not closed yet for events, quality, ads."
    )
