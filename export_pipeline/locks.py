"""Locks between the processes of one machine."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export_pipeline.settings import Settings


@contextmanager
def lock(settings: Settings, name: str) -> Iterator[None]:
    """Hold the lock ``name``: one process (or thread) at a time; the death of the holder frees it."""
    path = _file(settings, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_held(settings: Settings, name: str) -> bool:
    """Whether somebody alive holds the lock ``name``."""
    try:
        with open(_file(settings, name)) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def forget(settings: Settings, name: str) -> None:
    """Remove the trace of a lock that nobody will ask for again."""
    _file(settings, name).unlink(missing_ok=True)


def _file(settings: Settings, name: str) -> Path:
    return settings.tmp / "locks" / f"{name}.lock"
