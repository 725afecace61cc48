"""Locks between the processes of one machine."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from export_pipeline.settings import Settings


@contextmanager
def lock(settings: Settings, name: str) -> Iterator[None]:
    """Hold the lock ``name``: one process (or thread) at a time; the death of the holder frees it."""
    path = settings.tmp / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
