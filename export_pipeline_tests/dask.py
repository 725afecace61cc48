"""A real Dask cluster for tests: a scheduler and workers, processes of their own."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from export_pipeline_tests.objectstore import KEY, SECRET

READY_SECONDS = 60


@dataclass(frozen=True)
class Cluster:
    """Where its scheduler answers, and its processes."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]

    def close(self) -> None:
        """End all of it, stopped or not."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


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
            _start("dask_scheduler", scheduler, *where, *named),
            [_start("dask_worker", workers, *alone, *named) for _ in range(count)],
        )
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not (told := file.read_text() if file.exists() else ""):
                assert time.monotonic() < deadline, f"Dask was not ready within {READY_SECONDS} s"
                time.sleep(0.1)
            yield replace(there, address=json.loads(told)["address"])
        finally:
            there.close()


def _start(program: str, first: str, *arguments: str) -> subprocess.Popen[bytes]:
    python = f"{first}\nfrom distributed.cli.{program} import main; main()"
    command = [sys.executable, "-c", python, *arguments]
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    return subprocess.Popen(
        command, env={**os.environ, **keys}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
