"""Counting work instead of time: what Python does, the bytes a process reads, and those the system holds.

A count is the same on a busy machine; it grows with rows only where something is done for each of them.
"""

import ctypes
import mmap
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

_IO = Path("/proc/self/io")
CAN_COUNT_READING = _IO.exists()


@dataclass
class Work:
    """Steps: lines of Python run, and calls from Python of functions that are not. Bytes: read from files."""

    steps: int = 0
    bytes: int = 0


@contextmanager
def counted_steps() -> Iterator[Work]:
    """Count the steps of this thread, and of threads that begin in the block."""
    work = Work()

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        work.steps += event == "line"
        return line

    def call(frame: FrameType, event: str, argument: Any) -> None:
        work.steps += event == "c_call"

    before: Any = sys.gettrace(), sys.getprofile()
    threading.settrace(line)
    threading.setprofile(call)
    sys.settrace(line)
    sys.setprofile(call)
    try:
        yield work
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
        threading.settrace(before[0])
        threading.setprofile(before[1])


@contextmanager
def counted_reading() -> Iterator[Work]:
    """Count the bytes that this process reads from files in the block, from the disk or not."""
    work, before = Work(), _read_bytes()
    try:
        yield work
    finally:
        work.bytes = _read_bytes() - before


def _read_bytes() -> int:
    return int(_IO.read_text().split("rchar:")[1].split()[0])


def held_bytes(path: Path) -> int:
    """How much of a file, which is not empty, the system holds in memory; in whole pages."""
    size = path.stat().st_size
    pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), size) as mapped:
        address = ctypes.addressof(begin := ctypes.c_char.from_buffer(mapped))
        failed = ctypes.CDLL(None).mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), pages)
        del begin
    assert not failed
    return sum(page & 1 for page in pages) * mmap.PAGESIZE


def can_forget(folder: Path) -> bool:
    """Whether files in ``folder`` lie on a disk, so that the system needs not hold them."""
    if sys.platform != "linux":
        return False
    path = folder / "probe"
    path.write_bytes(bytes(mmap.PAGESIZE))
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    held = held_bytes(path)
    path.unlink()
    return held == 0


class Here(Executor):
    """Runs each task in the caller's thread when it is submitted, and keeps what it was and gave."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Any, Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn``; the future is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
            self.done.append((fn.__name__.strip("_"), args[0] if args else None, future.result()))
        except BaseException as error:
            future.set_exception(error)
        return future
