"""A real Dask cluster for tests: a scheduler and workers, processes of their own."""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path

from export_pipeline_tests import processes
from export_pipeline_tests.conditions import until

READY_SECONDS = 60


@dataclass(frozen=True)
class Cluster:
    """Where its scheduler answers, and its processes."""

    address: str
    scheduler: BaseProcess
    workers: list[BaseProcess]

    def signal_scheduler(self, how: signal.Signals) -> None:
        assert self.scheduler.pid is not None
        os.kill(self.scheduler.pid, how)

    def close(self) -> None:
        """End all of it, stopped or not."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.join()


@contextmanager
def running(count: int = 2, scheduler: str = "", workers: str = "") -> Iterator[Cluster]:
    """A cluster whose ``count`` workers may use the object store of tests.

    Args:
        scheduler, workers: Python that they run before anything else.
    """
    with tempfile.TemporaryDirectory(prefix="dask-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "scheduler.json"
        named = ("--scheduler-file", str(file), "--no-dashboard")
        where = ("--port", "0", "--host", "127.0.0.1")
        alone = ("--nthreads", "1", "--no-nanny", "--local-directory", folder)
        there = Cluster(
            "",
            processes.start(_run, "dask_scheduler", scheduler, *where, *named),
            [processes.start(_run, "dask_worker", workers, *alone, *named) for _ in range(count)],
        )
        try:
            until(lambda: file.exists() and file.read_text(), READY_SECONDS)
            yield replace(there, address=json.loads(file.read_text())["address"])
        finally:
            there.close()


def _run(program: str, first: str, *arguments: str) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stdout.fileno())
    os.dup2(silence, sys.stderr.fileno())
    exec(first)
    import_module(f"distributed.cli.{program}").main(arguments)
