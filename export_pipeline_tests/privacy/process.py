"""An access export made in a process of its own, which can be killed."""

import multiprocessing
import signal
from datetime import datetime

from export_pipeline.ledger import Ledger
from export_pipeline.privacy.access import Access
from export_pipeline.settings import Settings
from export_pipeline.store import Store

# The server has loaded the modules once and has no threads, so processes made from it start at once.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def _work(settings: Settings, job_id: str, now: datetime) -> None:
    access = Access(settings, Store(settings), Ledger(settings), clock=lambda: now)
    access.collect(job_id)
    access.publish(job_id)


def die(settings: Settings, job_id: str, now: datetime, point: str) -> None:
    """Work on a job until ``point``, and be dead."""
    settings = settings.model_copy(update={"fault_point": point})
    process = _CONTEXT.Process(target=_work, args=(settings, job_id, now))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
