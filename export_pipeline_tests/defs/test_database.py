import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from export_pipeline.days import utc_now
from export_pipeline.definitions import build_defs
from export_pipeline.defs.deployment import Deployment
from export_pipeline.settings import Settings

YESTERDAY = utc_now().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.duckdb"
    add(path, "create table ad_events as", 1)
    return path


@pytest.fixture
def settings(settings: Settings, source: Path) -> Settings:
    return settings.model_copy(update={"duckdb_source": source})


def add(path: Path, statement: str, number: int) -> None:
    at = YESTERDAY.replace(tzinfo=None) + timedelta(seconds=number)
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            f"{statement} select 'click' as event, 'user_00000001' as \"userId\", 'web' as \"deviceType\", "
            f"timestamp '{at}' as \"receivedAt\", 'evt_{number}' as \"eventId\", '{{}}'::json as data"
        )


def look(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Any:
    repository = definitions.get_repository_def()
    resources = repository.get_top_level_resources()
    with dg.build_sensor_context(instance=instance, resources=dict(resources)) as context:
        return repository.get_sensor_def("database").evaluate_tick(context)


def run(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = definitions.get_repository_def().get_job("ingest_database")
    return job.execute_in_process(instance=instance)


def test_new_rows_start_a_run_that_records_their_day(
    definitions: dg.Definitions, instance: dg.DagsterInstance, deployment: Deployment, source: Path
) -> None:
    assert len(look(definitions, instance).run_requests) == 1
    run(definitions, instance)
    day = YESTERDAY.date()
    assert deployment.ledger.read_days("ads", day, day)[day].rows == 1
    record = instance.get_latest_materialization_event(dg.AssetKey("ad_events"))
    assert record is not None
    assert record.asset_materialization is not None
    assert record.asset_materialization.partition == str(day)


def test_without_new_rows_nothing_is_started(
    definitions: dg.Definitions, instance: dg.DagsterInstance, source: Path
) -> None:
    run(definitions, instance)
    tick = look(definitions, instance)
    assert tick.run_requests == []
    assert tick.skip_message == "The database has no new rows."
    add(source, "insert into ad_events", 2)
    assert len(look(definitions, instance).run_requests) == 1


def test_without_the_setting_there_is_no_job_and_no_sensor(settings: Settings) -> None:
    plain = build_defs(settings=settings.model_copy(update={"duckdb_source": None})).get_repository_def()
    assert not plain.has_job("ingest_database")
    assert "database" not in [sensor.name for sensor in plain.sensor_defs]


def test_a_source_that_fails_is_told_without_what_its_rows_hold(
    definitions: dg.Definitions, instance: dg.DagsterInstance, source: Path
) -> None:
    with duckdb.connect(str(source)) as connection:
        connection.execute("alter table ad_events rename to raw")
        connection.execute(
            'create view ad_events as select * replace ("userId"::timestamp as "receivedAt") from raw'
        )
    with pytest.raises(Exception, match="ConversionException") as failed:
        look(definitions, instance)
    assert "user_00000001" not in "".join(traceback.format_exception(failed.value))
