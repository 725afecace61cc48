"""A round of retention, or a day's metrics, in a process of its own, which can be killed."""

from collections.abc import Callable
from datetime import date, datetime

from export_pipeline.ledger import Ledger
from export_pipeline.retention import retain
from export_pipeline.retention.metrics import compute_day
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests import processes


def _run(settings: Settings, now: datetime) -> None:
    retain(settings, Store(settings), Ledger(settings), now)


def _compute(settings: Settings, day: date, now: datetime) -> None:
    compute_day(settings, Store(settings), Ledger(settings), day, now)


def die(settings: Settings, now: datetime, point: str) -> None:
    """Run a round until it is killed at ``point``."""
    _die(_run, settings, point, now)


def die_computing(settings: Settings, day: date, now: datetime, point: str) -> None:
    """Compute the metrics of a day until it is killed at ``point``."""
    _die(_compute, settings, point, day, now)


def _die(work: Callable[..., None], settings: Settings, point: str, *arguments: object) -> None:
    processes.die(work, settings.model_copy(update={"fault_point": point}), *arguments)
