"""Files that appear whole or not at all.

Owns temporary names, flushing to disk, and moving into place; knows nothing of what is written.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def flush(path: Path) -> None:
    """Force ``path``, a file or directory, to disk."""
    with _flushed(path):
        pass


def settle(path: Path, end: int) -> None:
    """Force a file to disk as it is now, and have the system forget what it holds of it before ``end``."""
    with _flushed(path) as handle, suppress(OSError):  # not every file system takes advice
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(handle, 0, end, os.POSIX_FADV_DONTNEED)


@contextmanager
def _flushed(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        yield handle
    finally:
        os.close(handle)


@contextmanager
def scratch_directory(parent: Path, prefix: str) -> Iterator[Path]:
    """A new directory under ``parent``, removed with all it holds when the block ends."""
    path = parent / f"{prefix}-{uuid.uuid4().hex}"
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` under a temporary name beside ``path``, flush it, and rename it to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def to_json(document: Any) -> bytes:
    """``document`` as indented UTF-8 JSON with a final newline."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
