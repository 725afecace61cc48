import os
import subprocess
import sys
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._utils.schedules import cron_string_iterator

from export_pipeline.definitions import build_defs
from export_pipeline.settings import load

NAMES = """
asset ad_events
asset ad_events_csv
asset ad_events_jsonl
asset daily_metrics
asset deliveries
asset device_links
asset engagement_events
asset engagement_events_csv
asset engagement_events_jsonl
asset experiment_assignments
asset quality_events
asset quality_events_csv
asset quality_events_jsonl
asset user_profiles
check ad_events:daily_exports_made
check ad_events:quarantine_share
check ad_events:receives_events
check ad_events_csv:read_back
check ad_events_csv:row_count
check ad_events_csv:up_to_date
check ad_events_csv:volume
check ad_events_jsonl:read_back
check ad_events_jsonl:row_count
check ad_events_jsonl:up_to_date
check ad_events_jsonl:volume
check deliveries:all_delivered
check engagement_events:daily_exports_made
check engagement_events:quarantine_share
check engagement_events:receives_events
check engagement_events_csv:read_back
check engagement_events_csv:row_count
check engagement_events_csv:up_to_date
check engagement_events_csv:volume
check engagement_events_jsonl:read_back
check engagement_events_jsonl:row_count
check engagement_events_jsonl:up_to_date
check engagement_events_jsonl:volume
check quality_events:daily_exports_made
check quality_events:quarantine_share
check quality_events:receives_events
check quality_events_csv:read_back
check quality_events_csv:row_count
check quality_events_csv:up_to_date
check quality_events_csv:volume
check quality_events_jsonl:read_back
check quality_events_jsonl:row_count
check quality_events_jsonl:up_to_date
check quality_events_jsonl:volume
job access_export
job alerts
job compute_metrics
job daily_exports
job deliver_due
job erasure
job ingest
job maintenance
job on_demand_export
job queue_scheduled_exports
job restate_delivered
job retention
resource deployment
schedule alerts
schedule compute_metrics
schedule daily_exports
schedule maintenance
schedule retention
schedule scheduled_exports_daily
schedule scheduled_exports_weekly
sensor access_exports
sensor delivered_restatements
sensor deliveries
sensor erasures
sensor failed_runs
sensor landing
sensor on_demand_exports
sensor operator_mail
sensor restatements
sensor stranded_runs
"""


@pytest.fixture
def repository(definitions: dg.Definitions) -> dg.RepositoryDefinition:
    return definitions.get_repository_def()


def test_the_names_that_others_rely_on_are_these(repository: dg.RepositoryDefinition) -> None:
    graph = repository.asset_graph
    names = {
        *(f"asset {key.to_user_string()}" for key in graph.get_all_asset_keys()),
        *(f"check {key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys),
        *(f"job {job.name}" for job in repository.get_all_jobs() if not job.name.startswith("__")),
        *(f"schedule {schedule.name}" for schedule in repository.schedule_defs),
        *(f"sensor {sensor.name}" for sensor in repository.sensor_defs),
        *(f"resource {name}" for name in repository.get_top_level_resources()),
    }
    assert sorted(names) == NAMES.split("\n")[1:-1]


def test_every_asset_says_what_it_is_and_whose(repository: dg.RepositoryDefinition) -> None:
    for node in repository.asset_graph.asset_nodes:
        assert node.description, node.key
        assert node.group_name != "default", node.key
        assert node.owners, node.key
        assert node.kinds, node.key


def test_every_job_schedule_and_sensor_says_whose_it_is(repository: dg.RepositoryDefinition) -> None:
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    # Dagster takes no owners for a sensor of failed runs.
    owned = [
        *jobs,
        *repository.schedule_defs,
        *(s for s in repository.sensor_defs if s.name != "failed_runs"),
    ]
    assert not [definition.name for definition in owned if not definition.owners]


def test_everything_that_can_be_started_or_read_has_a_description(
    repository: dg.RepositoryDefinition,
) -> None:
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    described = {
        **{f"job {job.name}": job.description for job in jobs},
        **{f"schedule {schedule.name}": schedule.description for schedule in repository.schedule_defs},
        **{f"sensor {sensor.name}": sensor.description for sensor in repository.sensor_defs},
    }
    assert not [name for name, description in described.items() if not description]
    for key in repository.asset_graph.asset_check_keys:
        assert repository.asset_graph.get_check_spec(key).description, key


def test_schedules_and_sensors_run_without_being_switched_on(repository: dg.RepositoryDefinition) -> None:
    assert all(s.default_status is dg.DefaultScheduleStatus.RUNNING for s in repository.schedule_defs)
    assert all(s.default_status is dg.DefaultSensorStatus.RUNNING for s in repository.sensor_defs)


def test_what_comes_every_day_has_a_freshness_policy(repository: dg.RepositoryDefinition) -> None:
    for node in repository.asset_graph.asset_nodes:
        assert (node.freshness_policy is not None) == (node.group_name in ("events", "exports", "metrics")), (
            node.key
        )


def test_only_what_is_computed_can_be_materialized_by_hand(repository: dg.RepositoryDefinition) -> None:
    for node in repository.asset_graph.asset_nodes:
        assert node.is_materializable == (node.group_name in ("exports", "metrics")), node.key


def test_importing_the_code_location_reads_no_setting() -> None:
    environ = {**os.environ, "EXPORT_PIPELINE_EXPORT_HOUR": "not an hour"}
    subprocess.run([sys.executable, "-c", "import export_pipeline.definitions"], env=environ, check=True)


@pytest.mark.parametrize("hour", [0, 3, 22, 23])
def test_the_schedule_looks_first_at_the_export_hour(hour: int) -> None:
    definitions = build_defs(settings=load({"EXPORT_PIPELINE_EXPORT_HOUR": str(hour)}))
    cron = definitions.get_repository_def().get_schedule_def("daily_exports").cron_schedule
    assert isinstance(cron, str)
    midnight = datetime(2026, 11, 23, tzinfo=UTC)
    ticks = cron_string_iterator(midnight.timestamp(), cron, "UTC")
    assert next(ticks) == midnight.replace(hour=hour)
    assert next(ticks) == midnight.replace(hour=hour, minute=15)
