"""Locks between the processes of one machine."""

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from export_pipeline.errors import Conflict
from export_pipeline.settings import Settings

_LOOK_SECONDS = 0.05


@contextmanager
def lock(settings: Settings, name: str) -> Iterator[None]:
    """Hold the lock ``name``: one process (or thread) at a time; the death of the holder frees it."""
    path = _file(settings, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def lock_soon(settings: Settings, name: str, seconds: float) -> Iterator[None]:
    """The same, waiting for it only so long.

    Raises:
        Conflict: if another still holds it then.
    """
    until = time.monotonic() + seconds
    with _open(settings, name) as file:
        while not _taken(file):
            if time.monotonic() > until:
                raise Conflict(f"{name} is held by another process")
            time.sleep(_LOOK_SECONDS)
        yield


@contextmanager
def lock_one(settings: Settings, names: Sequence[str]) -> Iterator[None]:
    """Hold one of the locks ``names``, whichever is free first: as many can be at it as there are names."""
    with ExitStack() as stack:
        files = [stack.enter_context(_open(settings, name)) for name in names]
        while not (mine := next(filter(_taken, files), None)):
            time.sleep(_LOOK_SECONDS)
        for file in files:
            if file is not mine:
                file.close()
        yield


def _open(settings: Settings, name: str) -> IO[str]:
    path = _file(settings, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "a")


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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


def known(settings: Settings, prefix: str) -> list[str]:
    """The names of locks that begin with ``prefix`` and left a trace, held or not."""
    return [path.stem for path in (settings.tmp / "locks").glob(f"{prefix}*.lock")]


def _file(settings: Settings, name: str) -> Path:
    return settings.tmp / "locks" / f"{name}.lock"
