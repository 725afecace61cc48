"""A real Dask cluster for tests: a scheduler and workers, processes of their own."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from export_pipeline_tests.objectstore import KEY, SECRET

READY_SECONDS = 60


@dataclass(frozen=True)
class Cluster:
    """Where its scheduler answers, and its processes."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


@contextmanager
def running(count: int = 2) -> Iterator[Cluster]:
    """A cluster whose ``count`` workers may use the object store of tests."""
    with tempfile.TemporaryDirectory(prefix="dask-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "scheduler.json"
        named = ("--scheduler-file", str(file), "--no-dashboard")
        scheduler = _start("dask_scheduler", "--port", "0", "--host", "127.0.0.1", *named)
        alone = ("--nthreads", "1", "--no-nanny", "--local-directory", folder)
        workers = [_start("dask_worker", *alone, *named) for _ in range(count)]
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not file.exists():
                assert time.monotonic() < deadline, f"Dask was not ready within {READY_SECONDS} s"
                time.sleep(0.1)
            yield Cluster(json.loads(file.read_text())["address"], scheduler, workers)
        finally:
            for process in (*workers, scheduler):
                process.kill()
                process.wait()


def _start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"distributed.cli.{program}", *arguments]
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    return subprocess.Popen(
        command, env={**os.environ, **keys}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
