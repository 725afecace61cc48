"""A restatement made in a process of its own, which is killed."""

from datetime import datetime

from export_pipeline.ledger import Ledger
from export_pipeline.operations.delivered import restate
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests import processes


def _restate(settings: Settings, job_id: str, now: datetime) -> None:
    restate(settings, Store(settings), Ledger(settings), job_id, now=now)


def die(settings: Settings, job_id: str, now: datetime, point: str) -> None:
    """Make the next version of a scheduled export, and die at ``point``."""
    processes.die(_restate, settings.model_copy(update={"fault_point": point}), job_id, now)
