"""A job worked on in a process of its own, which can be killed."""

import multiprocessing
import signal
from datetime import datetime
from multiprocessing.process import BaseProcess

from export_pipeline.exports.service import run_job
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store

# The server has loaded the modules once and has no threads, so processes made from it start at once.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def _run(settings: Settings, job_id: str, attempt: int, now: datetime) -> None:
    run_job(settings, Store(settings), Ledger(settings), job_id, attempt, clock=lambda: now)


def start(settings: Settings, job_id: str, attempt: int, now: datetime, point: str = "") -> BaseProcess:
    """A process that works on a job; it dies at ``point``."""
    settings = settings.model_copy(update={"fault_point": point})
    process = _CONTEXT.Process(target=_run, args=(settings, job_id, attempt, now))
    process.start()
    return process


def die(settings: Settings, job_id: str, attempt: int, now: datetime, point: str) -> None:
    """The same, waiting until it is dead."""
    process = start(settings, job_id, attempt, now, point)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
