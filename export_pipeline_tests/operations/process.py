"""A restatement made in a process of its own, which is killed."""

import multiprocessing
import signal
from datetime import datetime

from export_pipeline.ledger import Ledger
from export_pipeline.operations.delivered import restate
from export_pipeline.settings import Settings
from export_pipeline.store import Store

# The server has loaded the modules once and has no threads, so processes made from it start at once.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def _restate(settings: Settings, job_id: str, now: datetime) -> None:
    restate(settings, Store(settings), Ledger(settings), job_id, now=now)


def die(settings: Settings, job_id: str, now: datetime, point: str) -> None:
    """Make the next version of a scheduled export, and die at ``point``."""
    settings = settings.model_copy(update={"fault_point": point})
    process = _CONTEXT.Process(target=_restate, args=(settings, job_id, now))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
