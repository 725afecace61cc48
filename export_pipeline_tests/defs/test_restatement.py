"""A day that rows come for after its export is told to be stale, and made whole by a run; not too often."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import Deployment
from export_pipeline.delivery.recurring import create
from export_pipeline.exports import export_day, verify
from export_pipeline.exports.scheduled import run_now
from export_pipeline.exports.service import run_job
from export_pipeline.operations.restatement import Stale, stale_exports
from export_pipeline.settings import Settings
from export_pipeline_tests.defs.conftest import AddRows, days_ago, look_at

Look = Callable[[timedelta], Any]
QUIET, HOUR = timedelta(minutes=15), timedelta(hours=1)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as kept:
        yield kept


@pytest.fixture
def look(definitions: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Evaluate the sensor a while from now."""
    repository = definitions.get_repository_def()
    cursor = [None]

    def looked(later: timedelta) -> Any:
        now = utc_now() + later
        monkeypatch.setattr("export_pipeline.defs.restatement.utc_now", lambda: now)
        with dg.build_sensor_context(
            instance=instance,
            cursor=cursor[0],
            resources=dict(repository.get_top_level_resources()),
            repository_def=repository,
        ) as context:
            found = repository.get_sensor_def("restatements").evaluate_tick(context)
        cursor[0] = found.cursor
        return found

    return looked


def export(deployment: Deployment, days: int, format_: str = "jsonl", now: datetime | None = None) -> Any:
    return export_day(
        "events",
        format_,
        days_ago(days),
        settings=deployment.settings,
        store=deployment.store,
        ledger=deployment.ledger,
        now=now or utc_now(),
    )


def days(request: dg.RunRequest) -> tuple[str, str]:
    return (
        request.tags["dagster/asset_partition_range_start"],
        request.tags["dagster/asset_partition_range_end"],
    )


def selected(request: dg.RunRequest) -> list[str]:
    return sorted(key.to_user_string() for key in request.asset_selection or ())


def test_a_late_day_becomes_stale_and_whole_again(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    deployment: Deployment,
    add_rows: AddRows,
    look: Look,
) -> None:
    for ago in (3, 2):
        add_rows(days_ago(ago), 5)
        export(deployment, ago)
    add_rows(days_ago(4), 1)
    assert look(QUIET).skip_message == "No daily export is stale."
    for ago in (3, 2):
        add_rows(days_ago(ago), 3)
    found = look(timedelta(0))
    assert found.skip_message.startswith(
        f"{days_ago(3)}: 3 rows came since version 1; version 2 is made from"
    )
    (verdict,) = found.asset_events
    assert (verdict.asset_key.to_user_string(), verdict.passed) == ("engagement_events_jsonl", False)
    assert look(HOUR - timedelta(minutes=1)).asset_events == []
    (request,) = look(HOUR + timedelta(minutes=1)).run_requests
    assert days(request) == (str(days_ago(3)), str(days_ago(2)))
    assert selected(request) == ["engagement_events_jsonl"]
    job = definitions.get_repository_def().get_job("daily_exports")
    run = job.execute_in_process(
        instance=instance, tags=dict(request.tags), asset_selection=list(request.asset_selection or ())
    )
    verdicts = {check.check_name: check for check in run.get_asset_check_evaluations()}
    assert verdicts["up_to_date"].passed
    assert (
        verdicts["up_to_date"].description
        == f"{days_ago(3)} to {days_ago(2)} (2 days): the files hold all that came."
    )
    assert verify(deployment.settings.exports).exports == 4
    manifest = export(deployment, 3).manifest
    assert (manifest.version, manifest.replaces.rows_added, manifest.replaces.rows_removed) == (2, 3, 0)
    assert look(HOUR * 2).skip_message == "No daily export is stale."


def test_a_day_that_is_made_again_is_not_started_twice_and_rests_after_a_failure(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    deployment: Deployment,
    add_rows: AddRows,
    look: Look,
) -> None:
    export(deployment, 1)
    add_rows(days_ago(1), 3)
    (request,) = look(HOUR).run_requests
    job = definitions.get_repository_def().get_job("daily_exports")
    run = instance.create_run_for_job(job, tags=dict(request.tags), status=dg.DagsterRunStatus.STARTED)
    assert look(HOUR).run_requests == []
    instance.report_run_failed(run)
    assert look(timedelta(minutes=59)).run_requests == []


def test_days_that_are_not_live_not_complete_or_not_kept_are_left_alone(
    deployment: Deployment, add_rows: AddRows, settings: Settings
) -> None:
    now = utc_now()
    export(deployment, 0)
    export(deployment, 90)
    for ago in (0, 5, 90):
        add_rows(days_ago(ago), 1)
    assert [stale.day for stale in stale_exports(settings, deployment.ledger, now)] == [days_ago(90)]
    assert list(stale_exports(settings, deployment.ledger, now + timedelta(days=1))) == []
    deployment.ledger.keeping.close_before("events", days_ago(89))
    assert list(stale_exports(settings, deployment.ledger, now)) == []


def test_a_storm_is_one_version_after_it_and_one_an_hour_while_it_lasts(
    deployment: Deployment, add_rows: AddRows, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three hours of a batch every five minutes, looked at every minute."""
    start = utc_now().replace(hour=1, minute=0, second=0, microsecond=0)
    now = start
    monkeypatch.setattr("export_pipeline_tests.defs.conftest.utc_now", lambda: now)
    day = days_ago(2)
    export(deployment, 2, now=now)
    made: list[datetime] = []
    latest: Stale | None = None
    for minute in range(6 * 60):
        now = start + timedelta(minutes=minute)
        if minute < 3 * 60 and minute % 5 == 0:
            add_rows(day, 1)
        (latest,) = list(stale_exports(settings, deployment.ledger, now)) or (None,)
        if latest and latest.due_at <= now:
            export(deployment, 2, now=now)
            made.append(now)
    assert len(made) == 3
    assert all(after - before >= HOUR for before, after in zip([start, *made], made, strict=False))
    assert (
        json.loads((settings.exports / f"daily/events/jsonl/{day}/v4/manifest.json").read_text())["rowCount"]
        == 36
    )


def test_a_delivered_export_is_made_again_by_a_run_that_its_sensor_asks_for(
    definitions: dg.Definitions, deployment: Deployment, add_rows: AddRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, store, ledger = deployment.settings, deployment.store, deployment.ledger
    add_rows(days_ago(1), 5)
    asked = {"frequency": "daily", "delivery": {"email": "data@example.com"}}
    schedule, _ = create(settings, ledger, asked, utc_now(), created_by="command")
    job = run_now(settings, store, ledger, schedule.id, utc_now(), lambda _: ())
    run_job(settings, store, ledger, job.id, 1)
    add_rows(days_ago(1), 3)
    with dg.instance_for_test() as kept:
        tick = look_at("delivered_restatements", definitions, kept)
        assert tick.skip_message.startswith(f"{job.id}: version 2 from ")
        later = utc_now() + HOUR + timedelta(minutes=1)
        monkeypatch.setattr("export_pipeline.defs.restatement.utc_now", lambda: later)
        (request,) = look_at("delivered_restatements", definitions, kept).run_requests
    with dg.DagsterInstance.ephemeral() as instance:
        making = definitions.get_repository_def().get_job("restate_delivered")
        run = making.execute_in_process(
            run_config=request.run_config, instance=instance, tags=dict(request.tags)
        )
        assert run.success
        told = "".join(map(str, instance.all_logs(run.run_id)))
        assert f"{job.id}: version 2, 3 rows came and 0 went" in told
        again = request.run_config
        again["ops"]["restate"]["config"]["export_ids"] = ["exp_unknown", job.id]
        failed = making.execute_in_process(run_config=again, instance=instance, raise_on_error=False)
        assert not failed.success
    assert ledger.jobs.get(job.id, later).rows == 8
    assert verify(settings.exports / "scheduled").exports == 2
