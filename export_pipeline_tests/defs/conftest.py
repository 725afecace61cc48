"""Definitions over a real deployment with a few rows, run in process on an ephemeral Dagster instance."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from export_pipeline.days import utc_now
from export_pipeline.definitions import build_defs
from export_pipeline.defs.deployment import Deployment
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.settings import Settings, load
from export_pipeline_tests.rows import row, table

AddRows = Callable[..., None]


def days_ago(days: int) -> date:
    return utc_now().date() - timedelta(days=days)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(
        {
            "EXPORT_PIPELINE_HOME": str(tmp_path / "home"),
            "EXPORT_PIPELINE_FIRST_DAY": str(days_ago(120)),
            "EXPORT_PIPELINE_CLOSE_DELAY_MINUTES": "0",
            "EXPORT_PIPELINE_WORKERS": "2",
            "EXPORT_PIPELINE_SMTP_HOST": "localhost",  # where nothing listens for mail
        }
    )


@pytest.fixture
def deployment(settings: Settings, ledger: Ledger) -> Deployment:
    return Deployment(settings)


@pytest.fixture
def definitions(settings: Settings, deployment: Deployment) -> dg.Definitions:
    return build_defs(settings=settings, resource_overrides={"deployment": deployment})


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture(scope="module")
def kept_instance() -> Iterator[dg.DagsterInstance]:
    """Sensors and schedules open the instance by themselves, so theirs cannot be ephemeral; the tests of a
    module share one, and no request."""
    with dg.instance_for_test() as kept:
        yield kept


def look_at(sensor: str, definitions: dg.Definitions, instance: dg.DagsterInstance) -> Any:
    """What a tick of a sensor comes to."""
    repository = definitions.get_repository_def()
    with dg.build_sensor_context(
        instance=instance, resources=dict(repository.get_top_level_resources()), repository_def=repository
    ) as context:
        return repository.get_sensor_def(sensor).evaluate_tick(context)


def keys(tick: Any) -> list[str]:
    """The keys of the runs that a tick asks for."""
    return [request.run_key for request in tick.run_requests or ()]


@pytest.fixture
def add_rows(deployment: Deployment) -> AddRows:
    """Put rows of a day straight into the store, as one batch: ``add_rows(day, 5)``."""

    def add(day: date, count: int, data_type: str = "events") -> None:
        store, ledger = deployment.store, deployment.ledger
        batch = ledger.take_batch(data_type, "test", (), utc_now())
        start = datetime.combine(day, time(12), UTC)
        rows = [
            row(
                n,
                data_type,
                timestamp=start + timedelta(seconds=n),
                eventId=f"evt_{batch.sequence}_{n:06d}",
                batchSequence=batch.sequence,
            )
            for n in range(count)
        ]
        store.append(DATA_TYPES[data_type].table, [table(rows, data_type)], {"batch": batch.id})
        ledger.commit_batch(batch.id, Counts(received=count, accepted=count), {day: count}, utc_now())

    return add
