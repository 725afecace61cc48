"""What the retention job says: what it removed, and at each partition whose export is gone."""

from datetime import timedelta

import dagster as dg
import pytest

from export_pipeline.dagster_home import prepare
from export_pipeline.days import utc_now
from export_pipeline.definitions import build_defs
from export_pipeline.defs.deployment import Deployment
from export_pipeline.exports import export_day
from export_pipeline.objects import files_below
from export_pipeline.settings import load
from export_pipeline_tests.defs.conftest import AddRows, days_ago

KEY = dg.AssetKey("engagement_events_jsonl")


def run(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    result = definitions.resolve_job_def("retention").execute_in_process(instance=instance)
    assert result.success
    return result


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, dg.MetadataValue]:
    [output] = [e for e in result.all_events if e.event_type == dg.DagsterEventType.STEP_OUTPUT]
    return dict(output.step_output_data.metadata)


def test_a_partition_whose_export_expired_says_so_once_and_how_to_make_it_again(
    definitions: dg.Definitions, deployment: Deployment, instance: dg.DagsterInstance, add_rows: AddRows
) -> None:
    add_rows(days_ago(9), 5)
    export_day(
        "events",
        "jsonl",
        days_ago(9),
        settings=deployment.settings,
        store=deployment.store,
        ledger=deployment.ledger,
        now=utc_now() - timedelta(days=7),
    )
    first = metadata(run(definitions, instance))
    assert first["dailyExports"].value == {
        "rows": 5,
        "files": 4,
        "bytes": first["dailyExports"].value["bytes"],
    }
    run(definitions, instance)
    [record] = instance.fetch_observations(KEY, limit=10).records
    observed = record.asset_observation
    assert observed is not None
    assert observed.partition == str(days_ago(9))
    assert "materialize this partition to make them again" in str(observed.description)


def test_rows_outside_retention_are_told_of_in_the_metadata(
    definitions: dg.Definitions, instance: dg.DagsterInstance, add_rows: AddRows
) -> None:
    add_rows(days_ago(91), 5)
    add_rows(days_ago(90), 5)
    shown = metadata(run(definitions, instance))
    assert shown["engagement_events"].value["rows"] == 5
    assert "| engagement_events | 5 |" in shown["summary"].value


def test_old_runs_go_with_their_events_and_newer_ones_stay(
    definitions: dg.Definitions,
    deployment: Deployment,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = run(definitions, instance).run_id
    later = utc_now() + timedelta(days=90, minutes=1)
    monkeypatch.setattr("export_pipeline.defs.retention.utc_now", lambda: later)
    new = run(definitions, instance).run_id
    assert instance.get_run_by_id(old) is None
    assert not instance.all_logs(old)
    assert instance.get_run_by_id(new) is not None


@pytest.mark.backends("s3")
def test_what_an_old_run_printed_goes_with_it(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(environment | {"EXPORT_PIPELINE_FIRST_DAY": str(days_ago(120))})
    definitions = build_defs(settings=settings)
    home = prepare(settings)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        old = run(definitions, instance).run_id
        there = settings.data / "dagster" / "storage"
        assert list(files_below(there / old))
        # A process that died has left its own on the machine it was on.
        died = home / "storage" / old / "compute_logs" / "died.out"
        died.parent.mkdir(parents=True, exist_ok=True)
        died.write_bytes(b"cut off")
        later = utc_now() + timedelta(days=90, minutes=1)
        monkeypatch.setattr("export_pipeline.defs.retention.utc_now", lambda: later)
        new = run(definitions, instance).run_id
    assert list(files_below(there / old)) == []
    assert list(files_below(there / new))
    assert not died.exists()
