"""A job worked on in a process of its own, which can be killed."""

import signal
from datetime import datetime
from multiprocessing.process import BaseProcess

from export_pipeline.exports.service import run_job
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests import processes


def _run(settings: Settings, job_id: str, attempt: int, now: datetime) -> None:
    run_job(settings, Store(settings), Ledger(settings), job_id, attempt, clock=lambda: now)


def start(settings: Settings, job_id: str, attempt: int, now: datetime, point: str = "") -> BaseProcess:
    """A process that works on a job; it dies at ``point``."""
    settings = settings.model_copy(update={"fault_point": point})
    return processes.start(_run, settings, job_id, attempt, now)


def die(settings: Settings, job_id: str, attempt: int, now: datetime, point: str) -> None:
    """The same, waiting until it is dead."""
    assert processes.ended(start(settings, job_id, attempt, now, point)) == -signal.SIGKILL
