import json
import re
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import Deployment
from export_pipeline.defs.ingest import pause_after
from export_pipeline.ingest import ingest_paths
from export_pipeline.settings import Settings
from export_pipeline_tests.defs.conftest import AddRows, days_ago


def lines(day: date, count: int, event: str = "like") -> str:
    return "".join(
        json.dumps(
            {
                "event": event,
                "userId": "user_00000001",
                "contentId": "vid_1",
                "deviceType": "ios",
                "timestamp": f"{day}T12:00:{n:02}Z",
                "eventId": f"evt_{day}_{n}",
            }
        )
        + "\n"
        for n in range(count)
    )


def land(settings: Settings, name: str, text: str, data_type: str = "events") -> Path:
    path = settings.landing / data_type / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def ingest(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = definitions.get_repository_def().get_job("ingest")
    return job.execute_in_process(instance=instance, raise_on_error=False)


def recorded(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str | None], Mapping[str, Any]]:
    """By asset and partition, the metadata of each materialization that a run recorded."""
    found = [
        event.step_materialization_data.materialization
        for event in result.all_events
        if event.is_step_materialization
    ]
    return {
        (m.asset_key.to_user_string(), m.partition): {name: value.value for name, value in m.metadata.items()}
        for m in found
    }


def look(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Any:
    sensor = definitions.get_repository_def().get_sensor_def("landing")
    resources = definitions.get_repository_def().get_top_level_resources()
    with dg.build_sensor_context(instance=instance, resources=dict(resources)) as context:
        return sensor.evaluate_tick(context)


def test_each_day_a_batch_touches_is_recorded_with_its_counts(
    definitions: dg.Definitions, instance: dg.DagsterInstance, settings: Settings
) -> None:
    land(settings, "a.jsonl", lines(days_ago(2), 3) + lines(days_ago(1), 2) + "not json\n")
    result = ingest(definitions, instance)
    assert result.success
    found = recorded(result)
    assert found.keys() == {("engagement_events", str(days_ago(2))), ("engagement_events", str(days_ago(1)))}
    older = found["engagement_events", str(days_ago(2))]
    assert (older["rows"], older["rowsAdded"], older["dataVersion"]) == (3, 3, 1)
    assert (older["ingest/received"], older["ingest/accepted"], older["ingest/rejected"]) == (6, 5, 1)


def test_a_user_table_that_got_rows_is_recorded(
    definitions: dg.Definitions, instance: dg.DagsterInstance, settings: Settings
) -> None:
    link = {"userId": "user_00000001", "deviceId": "dev_1", "linkedAt": "2026-11-01T00:00:00Z"}
    land(settings, "a.jsonl", json.dumps(link) + "\n", "users/devices")
    assert recorded(ingest(definitions, instance))["device_links", None]["rowsAdded"] == 1


def user_lines(at: str, users: range) -> dict[str, list[dict[str, Any]]]:
    """A line of each user, by the landing folder of each user table."""
    ids = [f"user_{n:08d}" for n in users]
    return {
        "profiles": [{"userId": one, "createdAt": at, "topicAffinities": {"sports": 0.5}} for one in ids],
        "devices": [{"userId": one, "deviceId": f"dev_{one}", "linkedAt": at} for one in ids],
        "experiments": [
            {"userId": one, "experimentId": "exp_new_feed", "variant": "b", "assignedAt": at} for one in ids
        ],
    }


@pytest.mark.parametrize(
    ("landing", "table", "instant"),
    [
        ("profiles", "user_profiles", "createdAt"),
        ("devices", "device_links", "linkedAt"),
        ("experiments", "experiment_assignments", "assignedAt"),
    ],
)
def test_a_user_table_shows_all_it_holds_without_a_person(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    settings: Settings,
    landing: str,
    table: str,
    instant: str,
) -> None:
    def shown(at: str, users: range) -> Mapping[str, Any]:
        text = "".join(json.dumps(line) + "\n" for line in user_lines(at, users)[landing])
        land(settings, f"{users.start}.jsonl", text, f"users/{landing}")
        return recorded(ingest(definitions, instance))[table, None]

    before = shown("2026-11-01T23:30:00Z", range(3))
    after = shown("2026-11-02T00:00:00Z", range(3, 5))
    assert (before["rows"], after["rows"], after["rowsAdded"]) == (3, 5, 2)
    assert after["bytes"] > before["bytes"] > 0
    assert len({before["sha256"], after["sha256"]}) == 2
    assert len(str(after["sha256"])) == 64
    assert after["seconds"] > 0
    assert table in str(after["directory"])
    lines = str(after["preview"]).splitlines()
    assert lines == [f"| {instant} | rows |", "|---|---:|", "| 2026-11-02 | 2 |", "| 2026-11-01 | 3 |"]
    assert not re.search("user_0|dev_", str(after))


def test_an_ingest_without_files_records_nothing(
    definitions: dg.Definitions, instance: dg.DagsterInstance, settings: Settings
) -> None:
    land(settings, "a.jsonl", lines(days_ago(1), 1))
    ingest(definitions, instance)
    again = ingest(definitions, instance)
    assert again.success
    assert not recorded(again)


def test_days_before_the_first_partition_are_stored_but_not_recorded(
    definitions: dg.Definitions, instance: dg.DagsterInstance, settings: Settings, add_rows: AddRows
) -> None:
    add_rows(settings.first_day - timedelta(days=1), 1)
    add_rows(settings.first_day, 1)
    assert recorded(ingest(definitions, instance)).keys() == {("engagement_events", str(settings.first_day))}


def test_what_the_command_line_ingested_is_recorded_by_the_next_ingest(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    deployment: Deployment,
    settings: Settings,
    tmp_path: Path,
) -> None:
    source = tmp_path / "events" / "a.jsonl"
    source.parent.mkdir()
    source.write_text(lines(days_ago(1), 4))
    ingest_paths(settings, deployment.store, deployment.ledger, [source])
    assert look(definitions, instance).run_requests
    assert recorded(ingest(definitions, instance))["engagement_events", str(days_ago(1))]["rows"] == 4
    assert not look(definitions, instance).run_requests


def test_an_ingest_that_fails_says_why_in_one_sentence(
    definitions: dg.Definitions, instance: dg.DagsterInstance, settings: Settings
) -> None:
    settings.landing.mkdir(parents=True)
    (settings.landing / "events").write_text("a file where a directory belongs")
    result = ingest(definitions, instance)
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    told = failure.step_failure_data.user_failure_data
    assert told is not None
    assert "landing/events cannot be listed" in str(told.description)


def test_the_sensor_starts_one_ingest_when_files_wait(
    definitions: dg.Definitions, instance: dg.DagsterInstance, settings: Settings
) -> None:
    assert look(definitions, instance).skip_message == "No files wait in the landing directory."
    land(settings, "a.jsonl", lines(days_ago(1), 1))
    land(settings, "b.jsonl", lines(days_ago(1), 1))
    (request,) = look(definitions, instance).run_requests or []
    assert request.run_key is None
    assert request.tags["export_pipeline/reason"] == "files wait in landing/events: 2"


def test_the_sensor_leaves_files_alone_that_are_still_written(
    definitions: dg.Definitions, instance: dg.DagsterInstance, settings: Settings
) -> None:
    land(settings, "a.jsonl.tmp", lines(days_ago(1), 1))
    assert not look(definitions, instance).run_requests


def test_the_sensor_finishes_what_a_dead_ingest_took(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment
) -> None:
    deployment.ledger.take_batch("events", "landing", ["a.jsonl"], utc_now())
    (request,) = look(definitions, instance).run_requests or []
    assert request.tags["export_pipeline/reason"] == "batches were taken and not finished: 1"


def test_the_sensor_waits_for_the_ingest_under_way(
    definitions: dg.Definitions, instance: dg.DagsterInstance, settings: Settings
) -> None:
    land(settings, "a.jsonl", lines(days_ago(1), 1))
    instance.create_run_for_job(
        definitions.get_repository_def().get_job("ingest"), status=dg.DagsterRunStatus.STARTED
    )
    assert "under way" in (look(definitions, instance).skip_message or "")


def test_the_sensor_pauses_after_a_failure_and_not_for_ever(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    land(settings, "a.jsonl", lines(days_ago(1), 1))
    run = instance.create_run_for_job(
        definitions.get_repository_def().get_job("ingest"), status=dg.DagsterRunStatus.STARTED
    )
    instance.report_run_failed(run)
    assert "the last runs failed" in (look(definitions, instance).skip_message or "")
    later = utc_now() + pause_after(1)
    monkeypatch.setattr("export_pipeline.defs.ingest.utc_now", lambda: later)
    assert look(definitions, instance).run_requests


def test_pauses_grow_to_a_quarter_of_an_hour() -> None:
    pauses = [pause_after(failures) for failures in range(1, 20)]
    assert pauses == sorted(pauses)
    assert pauses[0] == timedelta(seconds=15)
    assert pauses[-1] == timedelta(minutes=15)


def test_a_day_shows_its_size_checksum_place_and_what_is_in_it_without_a_person(
    definitions: dg.Definitions, instance: dg.DagsterInstance, settings: Settings
) -> None:
    land(settings, "a.jsonl", lines(days_ago(1), 3))
    metadata = recorded(ingest(definitions, instance))["engagement_events", str(days_ago(1))]
    assert metadata["bytes"] > 0
    assert len(str(metadata["sha256"])) == 64
    assert metadata["seconds"] > 0
    assert "engagement_events" in str(metadata["directory"])
    assert "| 3 |" in str(metadata["preview"])
    assert "user_" not in str(metadata)
