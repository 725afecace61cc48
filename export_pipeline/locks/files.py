"""Locks between the processes of one machine, each held on a file.

A lock is held on a file that may be swept by others: whoever took it looks whether the file is still there.
"""

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from export_pipeline.settings import Settings


def held(settings: Settings, name: str) -> IO[str]:
    """The file of the lock ``name``, waited for, and held until it is closed."""
    while not (file := _take(_file(settings, name), wait=True)):
        pass
    return file


def take(settings: Settings, name: str) -> IO[str] | None:
    """The file of the lock ``name``, held until it is closed; None if it is not free."""
    return _take(_file(settings, name))


def _take(path: Path, wait: bool = False) -> IO[str] | None:
    """None if another holds it, or has swept it just now."""
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


@contextmanager
def join(settings: Settings, group: str) -> Iterator[None]:
    """Hold a lock of ``group`` that nobody else asks for; it leaves no trace."""
    name = f"{group}-{uuid.uuid4().hex}"
    with held(settings, name):
        try:
            yield
        finally:
            forget(settings, name)


def members(settings: Settings, group: str) -> frozenset[str]:
    """The names of the locks of ``group`` that are held."""
    return frozenset(name for name in known(settings, f"{group}-") if is_held(settings, name))


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
