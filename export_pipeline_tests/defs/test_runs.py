from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from export_pipeline.days import utc_now
from export_pipeline.definitions import build_defs
from export_pipeline.defs.runs import GRACE
from export_pipeline.locks import lock
from export_pipeline.settings import Settings


def look(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Any:
    repository = definitions.get_repository_def()
    resources = dict(repository.get_top_level_resources())
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        return repository.get_sensor_def("stranded_runs").evaluate_tick(context)


@pytest.fixture
def started(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run that was started and whose process is gone."""
    run = instance.create_run_for_job(
        definitions.get_repository_def().get_job("ingest"), status=dg.DagsterRunStatus.STARTING
    )
    instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "ingest"), run_id=run.run_id
    )
    return run


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that a run may be without its lock."""
    moment = utc_now() + GRACE + timedelta(seconds=5)
    monkeypatch.setattr("export_pipeline.defs.runs.utc_now", lambda: moment)


@pytest.mark.usefixtures("later")
def test_a_run_whose_process_is_gone_is_ended(
    definitions: dg.Definitions, instance: dg.DagsterInstance, started: dg.DagsterRun
) -> None:
    assert started.run_id in look(definitions, instance).skip_message
    assert status(instance, started) is dg.DagsterRunStatus.FAILURE


@pytest.mark.usefixtures("later")
def test_a_run_that_works_is_left_alone(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    settings: Settings,
    started: dg.DagsterRun,
) -> None:
    with lock(settings, f"run-{started.run_id}"):
        look(definitions, instance)
    assert status(instance, started) is dg.DagsterRunStatus.STARTED


def test_a_run_that_has_just_started_is_left_alone(
    definitions: dg.Definitions, instance: dg.DagsterInstance, started: dg.DagsterRun
) -> None:
    look(definitions, instance)
    assert status(instance, started) is dg.DagsterRunStatus.STARTED


def test_a_run_holds_its_lock_while_it_works_and_leaves_no_trace(
    settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    locks = settings.tmp / "locks"
    monkeypatch.setattr(
        "export_pipeline.defs.operations.maintain",
        lambda *_: seen.append([path.name for path in locks.glob("run-*")]) or {},
    )
    result = (
        build_defs(settings=settings)
        .get_repository_def()
        .get_job("maintenance")
        .execute_in_process(instance=instance)
    )
    assert seen == [[f"run-{result.run_id}.lock"]]
    assert not list(locks.glob("run-*"))
