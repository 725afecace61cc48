"""Searching SQLite databases in use: every value of every table, and what is left in pages nobody uses.

The write-ahead log is put back into the database first. A read transaction keeps the file as it is meanwhile.
Values are searched as values; freed space, where values stand next to each other without anything between,
is searched for ids whatever their neighbours.
"""

import os
import sqlite3
import struct
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from export_pipeline.privacy.containers import packed
from export_pipeline.privacy.searching import WINDOW_BYTES, Search, Unsearchable

COMPANIONS = ("-wal", "-shm", "-journal")
"""What is appended to a database's name to name the files that belong to it."""

_BUSY_SECONDS = 30
_TRUNCATE_TRIES = 12
_TRUNCATE_PAUSE = 0.25
_ROWS = 2000
_LEAVES, _INNER = (10, 13), (2, 5)


def search_database(path: Path, search: Search) -> None:
    """Search the database at ``path`` and the files that belong to it.

    Raises:
        FileNotFoundError: if it is gone.
        Unsearchable: if it is no database, or locked for too long.
    """
    if not path.stat().st_size:
        return
    try:
        with (
            closing(_Raw(path)) as file,
            closing(sqlite3.connect(path.absolute().as_uri() + "?mode=rw", uri=True)) as connection,
        ):
            connection.isolation_level = None
            connection.text_factory = bytes
            _put_log_back(connection)
            connection.execute(f"pragma busy_timeout = {_BUSY_SECONDS * 1000}")
            connection.execute("begin")
            _values(connection, search)
            _pages(file, search)
            connection.execute("rollback")
    except sqlite3.Error as error:
        if not path.exists():
            raise FileNotFoundError(path) from None
        raise Unsearchable(f"it cannot be read as a SQLite database ({type(error).__name__})") from None
    for suffix in COMPANIONS:
        _companion(path.with_name(path.name + suffix), search)


def _put_log_back(connection: sqlite3.Connection) -> None:
    # Whoever reads an older state holds the log up; what is then left of it is searched as it is.
    connection.execute("pragma busy_timeout = 0")
    for _ in range(_TRUNCATE_TRIES):
        with suppress(sqlite3.OperationalError):
            if not connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0]:
                return
        time.sleep(_TRUNCATE_PAUSE)


def _values(connection: sqlite3.Connection, search: Search) -> None:
    schema = connection.execute("select type, name, sql from sqlite_master").fetchall()
    search.values(pa.array([text for row in schema for text in row if text], pa.large_binary()))
    for kind, name, _ in schema:
        if kind != b"table":
            continue
        rows = connection.execute('select * from "' + name.decode().replace('"', '""') + '"')
        while some := rows.fetchmany(_ROWS):
            values = [value for row in some for value in row if isinstance(value, bytes)]
            unpacked = [text for value in values if (text := packed(value)) is not None]
            search.values(pa.array(values + unpacked, pa.large_binary()))


def _companion(path: Path, search: Search) -> None:
    # Its pages may be old ones, so that no reading of the database tells what stands in them.
    with suppress(FileNotFoundError), closing(_Raw(path)) as file:
        search.text(file.read)
        file.seek(0)
        while content := file.read(WINDOW_BYTES):
            search.remains(content, lambda _: True)


class _Raw:
    """The bytes of a database's file.

    Its descriptor is kept while the process has the file open otherwise: closing any descriptor of a file
    ends all locks that the process has on it, those of its connections too, and others would then take the
    database for unused.
    """

    _kept: ClassVar[dict[tuple[int, int], int]] = {}
    _keeping: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: Path) -> None:
        self._at = 0
        with self._keeping:
            about = path.stat()
            descriptor = self._kept.get((about.st_dev, about.st_ino))
            if descriptor is None:
                descriptor = os.open(path, os.O_RDONLY)
                about = os.fstat(descriptor)
                self._kept[about.st_dev, about.st_ino] = descriptor
        self._descriptor, self._file = descriptor, (about.st_dev, about.st_ino)

    def close(self) -> None:
        """Close the file unless somebody else in this process has it open."""
        with self._keeping:
            if self._file in self._kept and _times_open(self._file) == 1:
                os.close(self._kept.pop(self._file))

    def read(self, size: int) -> bytes:
        """The next bytes, ``size`` at most; none at the end."""
        content = os.pread(self._descriptor, size, self._at)
        self._at += len(content)
        return content

    def seek(self, at: int) -> None:
        """Go on at an offset."""
        self._at = at


def _times_open(file: tuple[int, int]) -> int:
    """How many descriptors this process has of a file, given by device and inode."""
    times = 0
    for each in Path("/dev/fd").iterdir():
        with suppress(OSError):
            about = os.fstat(int(each.name))
            times += (about.st_dev, about.st_ino) == file
    return times


def _pages(file: _Raw, search: Search) -> None:
    header = file.read(100)
    if len(header) < 100:
        return
    size: int = _u16(header, 16)
    pages = _Pages(1 << 16 if size == 1 else size, _free_pages(file, header, 1 << 16 if size == 1 else size))
    file.seek(0)
    first = 0
    while content := file.read(max(WINDOW_BYTES // pages.size, 1) * pages.size):
        search.remains(content, partial(pages.is_unused, content, first))
        first += len(content) // pages.size


@dataclass(frozen=True)
class _Pages:
    """The pages of a database file: their size, and the numbers, from 0, of those that are free."""

    size: int
    free: frozenset[int]

    def is_unused(self, content: bytes, first: int, offset: int) -> bool:
        """Whether nothing in use stands at ``offset`` of ``content``, whose first page is ``first``."""
        number, at = offset // self.size, offset % self.size
        if first + number in self.free:
            return True
        page = content[number * self.size : (number + 1) * self.size]
        head = 100 if first + number == 0 else 0
        if page[head] not in (*_LEAVES, *_INNER):
            return False
        cells_begin = _u16(page, head + 5) or 1 << 16
        pointers_end = head + (8 if page[head] in _LEAVES else 12) + 2 * _u16(page, head + 3)
        if pointers_end <= at < cells_begin:
            return True
        block, seen = _u16(page, head + 1), 0
        while block and block + 4 <= self.size and seen < self.size:
            if block <= at < block + _u16(page, block + 2):
                return True
            block, seen = _u16(page, block), seen + 1
        return False


def _free_pages(file: _Raw, header: bytes, size: int) -> frozenset[int]:
    free: set[int] = set()
    trunk = _u32(header, 32)
    while trunk and trunk - 1 not in free:
        free.add(trunk - 1)
        file.seek((trunk - 1) * size)
        page = file.read(size)
        if len(page) < size:
            break
        count = min(_u32(page, 4), size // 4 - 2)
        free.update(number - 1 for number in struct.unpack(f">{count}I", page[8 : 8 + 4 * count]))
        trunk = _u32(page, 0)
    return frozenset(free)


def _u16(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 2], "big")


def _u32(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 4], "big")
