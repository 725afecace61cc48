"""Publishing: a directory made out of sight, and moved to its final name as a whole.

Owns scratch directories (held by a lock that dies with the process, so that what a dead process left is
known and swept), and what a failed write means.
"""

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from export_pipeline.errors import StorageFull
from export_pipeline.files import flush
from export_pipeline.locks import confirm
from export_pipeline.objects import AnyPath, local

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_LOCK = ".lock"


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """A new directory under ``parent``, gone when the block ends unless it was moved away.

    Directories with the same prefix whose makers died are removed first.

    Raises:
        StorageFull: if there is no room, in here or in the block.
    """
    with room(parent):
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent, prefix)
        path = parent / f"{prefix}{uuid.uuid4().hex}"
        with _held(path.with_name(path.name + _LOCK)):
            try:
                path.mkdir()
                yield path
            finally:
                shutil.rmtree(path, ignore_errors=True)


def sweep(parent: Path, prefix: str) -> None:
    """Remove what dead processes left under ``parent``; what a live one holds is left alone."""
    for lock in parent.glob(f"{prefix}*{_LOCK}"):
        with suppress(FileNotFoundError), open(lock) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(lock.with_name(lock.name.removesuffix(_LOCK)), ignore_errors=True)
            lock.unlink()


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    while True:
        with open(lock, "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is(lock, file.fileno()):
                continue  # another process swept it between opening and locking
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def publish(made: Path, final: AnyPath) -> None:
    """Move the directory ``made`` to ``final``, replacing what is there; flushed to disk.

    ``made`` lies in a scratch directory on the same file system. Where something is replaced, a
    process that dies between the two renames leaves nothing at ``final``, never a mixture.

    Raises:
        TransientError: if a lock that this process holds was lost.
    """
    confirm()
    final = local(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    flush(made)
    if final.exists():
        final.rename(made.with_name(f"{made.name}-replaced"))
    made.rename(final)
    flush(final.parent)


@contextmanager
def room(folder: AnyPath) -> Iterator[None]:
    """Turn the lack of room while writing below ``folder`` into ``StorageFull``."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFull(f"no room is left to write in {folder}; free some and try again") from error
        raise
