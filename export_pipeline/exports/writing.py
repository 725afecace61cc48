"""Writing: spans encoded on an executor, written in order as part files, and read back as they appear.

Owns where a part ends, what is hashed, and how much is under way at once; memory follows that, not
the export.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from datetime import date

import pyarrow as pa

from export_pipeline import composing, files, objects
from export_pipeline.ahead import in_order
from export_pipeline.composing import Begun, Extent
from export_pipeline.errors import DamagedData, TransientError
from export_pipeline.exports.assembly import (
    KeptChanged,
    KeptDay,
    KeptWindow,
    Piece,
    pieces,
    taken_over,
    where_it_lies,
)
from export_pipeline.exports.decoding import let_go
from export_pipeline.exports.encoding import get_ready, header
from export_pipeline.exports.executors import Cluster, spill
from export_pipeline.exports.layout import descriptions, part_name
from export_pipeline.exports.manifest import FileEntry, instant_text
from export_pipeline.exports.planning import plan_day
from export_pipeline.exports.readback import Range, digest, read_range, unlike
from export_pipeline.exports.request import Compression, Format
from export_pipeline.exports.rows import Content
from export_pipeline.exports.scanning import Scan
from export_pipeline.exports.spans import EncodedWindow, Span, encode, spans
from export_pipeline.gzip_member import member
from export_pipeline.objects import AnyPath, is_remote, local

_SETTLED_BYTES = 1 << 26
"""Of a part, read back, before the disk has to take them: so the system's own memory, too, follows what is
under way."""

Progress = Callable[[int], None]
"""Told the number of rows just written."""


@dataclass(frozen=True)
class Shape:
    """How files are written; all but ``workers``, which encode windows at once, is part of the bytes."""

    format: Format
    compression: Compression
    window_rows: int
    part_bytes: int
    workers: int

    @property
    def ahead(self) -> int:
        """How many tasks are under way at once, with all they made in memory: fewer of what is large."""
        return 2 * self.workers if self.compression == "gzip" else max(2, self.workers)


@dataclass(frozen=True)
class Written:
    """The part files of a data type and the rows in them by day."""

    files: tuple[FileEntry, ...]
    days: dict[date, int]


def write_data_type(
    folder: AnyPath,
    data_type: str,
    days: Iterable[Scan | KeptDay],
    shape: Shape,
    executor: Executor,
    progress: Progress | None,
) -> Written:
    """Write the part files of a data type below ``folder``, flushed to disk, and read them back.

    Args:
        days: the rows of each day, oldest first: to be computed, or to be taken over.

    Raises:
        RowsChanged, FileGone: if the store changed since the scans were made.
        KeptChanged: if a daily export cannot be taken over.
        DamagedData: if a store file cannot be read, or the files read back are not what was written.
    """
    for name, content in descriptions(data_type).items():
        objects.write(folder / name, content, absent=True)
    days = list(days)
    copied = _are_copied(folder, days, shape)
    with ExitStack() as stack:
        stack.callback(let_go)
        parts = stack.enter_context(closing(_Parts(folder, data_type, shape, executor, copied)))
        # Closed here, not when they are collected: the traceback of an error keeps them.
        tasks = stack.enter_context(closing(_tasks(days, shape, executor)))
        if copied:
            encoded: Generator[Sequence[EncodedWindow], None, None] = (
                (where_it_lies(work),) for work, _ in tasks if isinstance(work, Piece)
            )
        elif isinstance(executor, Cluster):
            left = stack.enter_context(executor.folder())
            numbered = ((task, composing.begin(left / f"{number}")) for number, task in enumerate(tasks))
            encoded = in_order(executor.leave, _left_there, numbered, 2 * shape.workers)
        else:
            encoded = in_order(executor.submit, _encoded, tasks, shape.ahead)
        stack.enter_context(closing(encoded))
        for windows in encoded:
            for window in windows:
                parts.write(window)
                if progress:
                    progress(window.rows)
        written = parts.finish()
    objects.flush(folder / data_type)
    return written


def _are_copied(folder: AnyPath, days: Sequence[Scan | KeptDay], shape: Shape) -> bool:
    """Whether an object store can put the files together by itself, from objects of daily exports."""
    if not days or not is_remote(folder) or shape.compression == "none":
        return False
    return all(isinstance(day, KeptDay) and is_remote(day.folder) for day in days)


Task = tuple[Span | Piece, Shape]


def _tasks(days: Sequence[Scan | KeptDay], shape: Shape, executor: Executor) -> Generator[Task, None, None]:
    planned = _planned
    if isinstance(executor, Cluster):
        planned = _planned_there
    elif any(isinstance(day, Scan) for day in days):
        executor.submit(get_ready)  # while the first day is planned
    with closing(in_order(executor.submit, planned, ((day, shape) for day in days), shape.ahead)) as plans:
        for plan in plans:
            for task in plan:
                yield task, shape


def _planned(day_and_shape: tuple[Scan | KeptDay, Shape]) -> list[Span] | list[Piece]:
    day, shape = day_and_shape
    if isinstance(day, KeptDay):
        return pieces(day, shape.window_rows)
    plan = plan_day(day, shape.window_rows)
    return list(spans(day, plan.windows, shape.format, shape.compression))


def _encoded(task: Task) -> Sequence[EncodedWindow]:
    work, shape = task
    return (taken_over(work, shape.compression),) if isinstance(work, Piece) else encode(work)


def _planned_there(day_and_shape: tuple[Scan | KeptDay, Shape]) -> list[Span] | list[Piece]:
    day, shape = day_and_shape
    return _planned((replace(day, spill=spill()) if isinstance(day, Scan) else day, shape))


def _left_there(task_and_place: tuple[Task, Begun]) -> Sequence[EncodedWindow]:
    """Encode windows on a worker and leave their bytes at a place; in their stead, where each one's lie."""
    (work, shape), place = task_and_place
    if isinstance(work, Span):
        work = replace(work, scan=replace(work.scan, spill=spill()))
    windows = _encoded((work, shape))
    content: list[pa.Buffer] = []
    placed: list[EncodedWindow] = []
    offset = 0
    for window in windows:
        length = sum(piece.size for piece in window.content)
        content += window.content
        placed.append(replace(window, content=(Extent(place.path, offset, length),)))
        offset += length
    # Whole or not at all: a task that runs twice leaves the same.
    try:
        composing.compose(place, [b"".join(content)])
    except FileNotFoundError:
        raise TransientError("nobody waits for what a worker made any more") from None
    return placed


@dataclass
class _Part:
    """A part file being written, and what is read back of it."""

    name: str
    path: AnyPath
    size: int = 0
    raw_bytes: int = 0
    rows: int = 0
    first_us: int | None = None
    last_us: int | None = None
    sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    hashed: Future[None] | None = None
    ranges: list[Future[Content] | Content | Range] = field(default_factory=list)
    read_to: int = 0
    settled_to: int = 0
    flushed: Future[None] | None = None
    stored: Future[tuple[int, str]] | None = None
    pieces: list[bytes | Extent] = field(default_factory=list)


class _Parts:
    """The part files of a data type, one after the other."""

    def __init__(
        self, folder: AnyPath, data_type: str, shape: Shape, executor: Executor, copied: bool
    ) -> None:
        self._folder = folder
        self._data_type = data_type
        self._shape = shape
        self._executor = executor
        self._parts: list[_Part] = []
        self._unread: deque[tuple[_Part, Future[Content], int]] = deque()
        self._settled: Future[None] | None = None
        self._open = ExitStack()
        # Looks at what was written, and has the disk take a part, while the next bytes are made.
        self._follower = ThreadPoolExecutor(2, thread_name_prefix="follow")
        self._copied = copied
        self._composed = copied or isinstance(executor, Cluster)
        self._begin()

    def _begin(self) -> None:
        shape = self._shape
        name = part_name(self._data_type, len(self._parts), shape.format, shape.compression)
        self._part = _Part(name, self._folder / name)
        self._parts.append(self._part)
        if not self._composed:
            self._file = self._open.enter_context(objects.writing(self._part.path, absent=True))
        start = header(self._data_type, shape.format)
        if start:
            self._append(member(start) if shape.compression == "gzip" else start)

    def _append(self, content: bytes | pa.Buffer | Extent) -> None:
        if self._composed or isinstance(content, Extent):
            _join(self._part.pieces, content)
            self._part.size += content.length if isinstance(content, Extent) else len(content)
            return
        part, rest = self._part, memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]
        if part.hashed:
            part.hashed.result()
        written = pa.py_buffer(content)
        part.hashed = self._follower.submit(_hash, part, written, part.size)
        part.size += written.size

    def write(self, window: EncodedWindow) -> None:
        """Add a window, to a new part if the current one has reached its size."""
        if self._part.raw_bytes >= self._shape.part_bytes:
            self._end()
            self._begin()
        part = self._part
        if isinstance(window, KeptWindow) and part.read_to < part.size:
            self._read_back()
        for piece in window.content:
            self._append(piece)
        part.raw_bytes += window.raw_bytes
        part.rows += window.rows
        part.first_us = window.first_us if part.first_us is None else part.first_us
        part.last_us = window.last_us
        if isinstance(window, KeptWindow) and not self._copied:
            # These bytes have been read; that they are the same on disk is seen when they are written.
            part.ranges.append(window.found)
            part.read_to = part.size
        else:
            self._read_back()
        self._settle()

    def _settle(self) -> None:
        """Have the disk take what was read back."""
        while self._unread and self._unread[0][1].done():
            part, _, end = self._unread.popleft()
            if end - part.settled_to >= _SETTLED_BYTES:
                if self._settled:
                    self._settled.result()
                self._settled = self._follower.submit(files.settle, local(part.path), end)
                part.settled_to = end

    def _read_back(self) -> None:
        part, shape = self._part, self._shape
        span = Range(
            part.path, self._data_type, shape.format, shape.compression,
            part.read_to, part.size - part.read_to, header=part.read_to == 0,
        )  # fmt: skip
        if self._composed or is_remote(part.path):
            # An object can be read once it is whole.
            part.ranges.append(span)
        else:
            reading = self._executor.submit(read_range, span)
            part.ranges.append(reading)
            self._unread.append((part, reading, part.size))
        part.read_to = part.size

    def _end(self) -> None:
        if not self._part.size and self._shape.compression == "gzip":
            self._append(member(b""))
        if self._part.read_to < self._part.size or not self._part.size:
            self._read_back()
        part, submit = self._part, self._executor.submit
        if is_remote(part.path):
            self._open.close()
        else:
            part.flushed = self._follower.submit(self._open.pop_all().close)
        if self._composed:
            self._compose()
        part.ranges = [submit(read_range, each) if isinstance(each, Range) else each for each in part.ranges]
        if self._composed or is_remote(part.path):
            part.stored = submit(_stored, part.path)

    def _compose(self) -> None:
        begun = composing.begin(self._part.path)
        try:
            self._executor.submit(composing.compose, begun, self._part.pieces).result()
        except BaseException as error:
            composing.give_up(begun)
            match error:
                case FileNotFoundError():
                    raise KeptChanged from None
                case FileExistsError():
                    raise TransientError(
                        f"others wrote to {self._folder} while it was made; try again"
                    ) from None
            raise

    def close(self) -> None:
        """Let go of the file being written, whether or not it is whole."""
        with suppress(_Abandoned):
            self._open.__exit__(_Abandoned, _Abandoned(), None)
        self._follower.shutdown()

    def finish(self) -> Written:
        """End the last part; what was written, once the second reader has found the same."""
        self._end()
        together = Content()
        entries = tuple(self._checked(part, together) for part in self._parts)
        self._settle()
        if self._settled:
            self._settled.result()
        if together.problems:
            raise DamagedData(f"{self._data_type} read back: {together.problems[0]}")
        return Written(entries, together.days)

    def _checked(self, part: _Part, together: Content) -> FileEntry:
        found = Content()
        for ended in (part.hashed, part.flushed):
            if ended:
                ended.result()
        for read in part.ranges:
            assert not isinstance(read, Range)
            found.extend(read if isinstance(read, Content) else read.result())
        hashed = part.sha256.hexdigest()
        size, sha256 = part.stored.result() if part.stored else (part.path.stat().st_size, hashed)
        entry = FileEntry(
            part.name,
            self._data_type,
            part.rows,
            part.size,
            sha256 if self._composed else hashed,
            None if part.first_us is None else instant_text(part.first_us),
            None if part.last_us is None else instant_text(part.last_us),
        )
        problems = unlike(entry, size, sha256, found)
        if problems:
            raise DamagedData(f"{part.name} read back: {problems[0]}")
        together.extend(found)
        return entry


def _join(pieces: list[bytes | Extent], piece: bytes | Extent) -> None:
    """Add a piece; one that goes on where the last one ends in the same file becomes part of that."""
    match pieces[-1:], piece:
        case [Extent() as last], Extent() if (last.path, last.offset + last.length) == (
            piece.path,
            piece.offset,
        ):
            pieces[-1] = replace(last, length=last.length + piece.length)
        case _:
            pieces.append(piece)


class _Abandoned(Exception):
    """A file is not written to its end."""


def _hash(part: _Part, written: pa.Buffer, offset: int) -> None:
    """Hash what was written to a part, as it is read from there; an object can be read once it is whole.

    Raises:
        DamagedData: if it is not what was written.
    """
    if is_remote(part.path):
        part.sha256.update(written)
        return
    at = 0
    for piece in objects.part(part.path, offset, offset + written.size):
        if not written.slice(at, len(piece)).equals(pa.py_buffer(piece)):
            break
        part.sha256.update(piece)
        at += len(piece)
    if at < written.size:
        raise DamagedData(f"{part.name} read back: it is not what was written")


def _stored(path: AnyPath) -> tuple[int, str]:
    """The bytes of a file, and their SHA-256."""
    return path.stat().st_size, digest(path)
