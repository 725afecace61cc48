"""An access export made in a process of its own, which can be killed."""

from datetime import datetime

from export_pipeline.ledger import Ledger
from export_pipeline.privacy.access import Access
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests import processes


def _work(settings: Settings, job_id: str, now: datetime) -> None:
    access = Access(settings, Store(settings), Ledger(settings), clock=lambda: now)
    access.collect(job_id)
    access.publish(job_id)


def die(settings: Settings, job_id: str, now: datetime, point: str) -> None:
    """Work on a job until ``point``, and be dead."""
    processes.die(_work, settings.model_copy(update={"fault_point": point}), job_id, now)
