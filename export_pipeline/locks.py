"""Locks between the processes of one machine.

A lock is held on a file that may be swept by others: whoever took it looks whether the file is still there.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from export_pipeline.errors import Conflict
from export_pipeline.settings import Settings

_LOOK_SECONDS = 0.05


@contextmanager
def lock(settings: Settings, name: str) -> Iterator[None]:
    """Hold the lock ``name``: one process (or thread) at a time; the death of the holder frees it."""
    while not (file := _take(_file(settings, name), wait=True)):
        pass
    with file:
        yield


@contextmanager
def lock_soon(settings: Settings, name: str, seconds: float) -> Iterator[None]:
    """The same, waiting for it only so long.

    Raises:
        Conflict: if another still holds it then.
    """
    until = time.monotonic() + seconds
    while not (file := _take(_file(settings, name))):
        if time.monotonic() > until:
            raise Conflict(f"{name} is held by another process")
        time.sleep(_LOOK_SECONDS)
    with file:
        yield


@contextmanager
def lock_one(settings: Settings, names: Sequence[str]) -> Iterator[None]:
    """Hold one of the locks ``names``, whichever is free first: as many can be at it as there are names."""
    while not (file := next(filter(None, (_take(_file(settings, name)) for name in names)), None)):
        time.sleep(_LOOK_SECONDS)
    with file:
        yield


def _take(path: Path, wait: bool = False) -> IO[str] | None:
    """The file of a lock, held until it is closed; None if another holds it, or has swept it just now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        file.close()
        raise
    file.close()
    return None


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


def unheld(settings: Settings) -> list[Path]:
    """The files of locks that nobody holds now."""
    found = []
    for path in (settings.tmp / "locks").glob("*.lock"):
        if not is_held(settings, path.stem):
            found.append(path)
    return found


def sweep(settings: Settings) -> int:
    """Remove the traces of all locks that nobody holds; how many there were. Who waits takes a new one."""
    swept = 0
    for path in unheld(settings):
        with suppress(FileNotFoundError), open(path) as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                path.unlink()
                swept += 1
    return swept


def known(settings: Settings, prefix: str) -> list[str]:
    """The names of locks that begin with ``prefix`` and left a trace, held or not."""
    return [path.stem for path in (settings.tmp / "locks").glob(f"{prefix}*.lock")]


def _file(settings: Settings, name: str) -> Path:
    return settings.tmp / "locks" / f"{name}.lock"
