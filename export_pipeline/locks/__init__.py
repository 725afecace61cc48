"""Locks between processes: of one machine by files, of all machines of a deployment by its database.

With PostgreSQL, a lock is held by a connection and can be lost with it. Who holds one is told of that at
the end of the block, and by ``confirm``, which everything that publishes asks first.

A group is what processes belong to for a while, as many as like: others see who does, and wait for their end.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from export_pipeline.databases import postgres
from export_pipeline.errors import Conflict
from export_pipeline.locks import files, sessions
from export_pipeline.locks.sessions import confirm
from export_pipeline.settings import Settings

__all__ = [
    "confirm",
    "forget",
    "is_held",
    "joined",
    "known",
    "lock",
    "lock_one",
    "lock_soon",
    "members",
    "sweep",
    "unheld",
]

_Lock = sessions.Held | IO[str]
_Take = Callable[[Settings, str], _Lock | None]
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.1


@contextmanager
def lock(settings: Settings, name: str) -> Iterator[None]:
    """Hold the lock ``name``: one process (or thread) at a time; the death of the holder frees it.

    Raises:
        TransientError: if the lock was lost before the block ended, or cannot be asked for.
    """
    if not postgres.is_used(settings):
        with files.held(settings, name):
            yield
    else:
        with lock_one(settings, [name]):
            yield


@contextmanager
def lock_soon(settings: Settings, name: str, seconds: float) -> Iterator[None]:
    """The same, waiting for it only so long.

    Raises:
        Conflict: if another still holds it then.
        TransientError: see ``lock``.
    """
    taken = _first(settings, [name], seconds)
    if taken is None:
        raise Conflict(f"{name} is held by another process")
    with taken:
        yield


@contextmanager
def lock_one(settings: Settings, names: Sequence[str]) -> Iterator[None]:
    """Hold one of the locks ``names``, whichever is free first: as many can be at it as there are names.

    Raises:
        TransientError: see ``lock``.
    """
    taken = _first(settings, names, None)
    assert taken is not None
    with taken:
        yield


def _first(settings: Settings, names: Sequence[str], seconds: float | None) -> _Lock | None:
    """The first of some locks that is free, held until its end; None if there is none for so long."""
    # Waiting in the server could not be interrupted.
    until = None if seconds is None else time.monotonic() + seconds
    take: _Take = sessions.take if postgres.is_used(settings) else files.take
    pause = _FIRST_PAUSE
    while not (taken := _free(take, settings, names)):
        if until is not None and time.monotonic() > until:
            return None
        time.sleep(pause * random.uniform(0.5, 1))
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    return taken


def _free(take: _Take, settings: Settings, names: Sequence[str]) -> _Lock | None:
    for name in names:
        if (taken := take(settings, name)) is not None:
            return taken
    return None


@contextmanager
def joined(settings: Settings, group: str) -> Iterator[None]:
    """Belong to ``group`` for the block, under a name of its own; the death of the process ends it.

    Raises:
        TransientError: see ``lock``.
    """
    member = sessions.join(settings, group) if postgres.is_used(settings) else files.join(settings, group)
    with member:
        yield


def members(settings: Settings, group: str) -> frozenset[str]:
    """The names under which those alive belong to ``group`` now; none is given twice.

    Raises:
        TransientError: if the database cannot be reached.
    """
    found = sessions.members if postgres.is_used(settings) else files.members
    return found(settings, group)


def is_held(settings: Settings, name: str) -> bool:
    """Whether somebody alive holds the lock ``name``."""
    found = sessions.is_held if postgres.is_used(settings) else files.is_held
    return found(settings, name)


def forget(settings: Settings, name: str) -> None:
    """Remove the trace of a lock that nobody will ask for again."""
    files.forget(settings, name)


def unheld(settings: Settings) -> list[Path]:
    """The traces of locks that nobody holds now; those held in a database leave none."""
    return files.unheld(settings)


def sweep(settings: Settings) -> int:
    """Remove the traces of all locks that nobody holds; how many there were. Who waits takes a new one."""
    return files.sweep(settings)


def known(settings: Settings, prefix: str) -> list[str]:
    """The names of locks that begin with ``prefix`` and left a trace, held or not."""
    return files.known(settings, prefix)
