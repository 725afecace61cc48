"""A round of retention in a process of its own, which can be killed."""

import multiprocessing
import signal
from datetime import datetime

from export_pipeline.ledger import Ledger
from export_pipeline.retention import retain
from export_pipeline.settings import Settings
from export_pipeline.store import Store

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def _run(settings: Settings, now: datetime) -> None:
    retain(settings, Store(settings), Ledger(settings), now)


def die(settings: Settings, now: datetime, point: str) -> None:
    """Run a round until it is killed at ``point``."""
    settings = settings.model_copy(update={"fault_point": point})
    process = _CONTEXT.Process(target=_run, args=(settings, now))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
