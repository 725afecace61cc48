"""Processes that tests kill, and clusters of them: forked from one that has loaded the modules, so that each
starts at once."""

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess

CONTEXT = multiprocessing.get_context("forkserver")
# There is one server in a process of tests; it has no threads.
CONTEXT.set_forkserver_preload(
    [
        "distributed.cli.dask_scheduler",
        "distributed.cli.dask_worker",
        "export_pipeline.cli",
        "export_pipeline.delivery.outbox",
        "export_pipeline.exports.executors",
        "export_pipeline.exports.service",
        "export_pipeline.ingest",
        "export_pipeline.operations.delivered",
        "export_pipeline.operations.maintenance",
        "export_pipeline.privacy.erasing",
        "export_pipeline.retention.metrics",
        "hypothesis",
        "psycopg2",
        "pytest",
        "s3fs",
        "export_pipeline_tests.loaded",  # last, as it makes ready what the others loaded
    ]
)
PATIENCE_SECONDS = 120


def start(work: Callable[..., object], *arguments: object) -> ForkServerProcess:
    """A process that does ``work``."""
    process = CONTEXT.Process(target=work, args=arguments)
    process.start()
    return process


def ended(process: ForkServerProcess) -> int | None:
    """How a process ended, once it has; below zero the signal that killed it."""
    process.join(PATIENCE_SECONDS)
    return process.exitcode


def die(work: Callable[..., object], *arguments: object) -> None:
    """Do ``work`` in a process that is killed before it ends."""
    assert ended(start(work, *arguments)) == -signal.SIGKILL
