"""Ingest in a process of its own, which can be killed."""

import signal
from datetime import datetime
from multiprocessing.process import BaseProcess
from pathlib import Path

from export_pipeline.ingest import ingest_landing, ingest_paths, replay
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests import processes


def _run(settings: Settings, what: str | Path, now: datetime) -> None:
    parts = (settings, Store(settings), Ledger(settings))
    if what == "landing":
        ingest_landing(*parts, now=now)
    elif what == "replay":
        replay(*parts, now=now)
    else:
        ingest_paths(*parts, [Path(what)], now=now)


def start(settings: Settings, what: str | Path, now: datetime, point: str = "") -> BaseProcess:
    """A process that takes in ``landing``, a path, or the quarantine (``replay``); it dies at ``point``."""
    settings = settings.model_copy(update={"fault_point": f"ingest.{point}" if point else ""})
    return processes.start(_run, settings, what, now)


def die(settings: Settings, what: str | Path, now: datetime, point: str) -> None:
    """The same, waiting until it is dead."""
    assert processes.ended(start(settings, what, now, point)) == -signal.SIGKILL
