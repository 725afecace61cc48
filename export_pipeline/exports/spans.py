"""Spans: consecutive windows of a day, read by one query and turned into the bytes of the file.

Owns the function that runs on the executor. It takes and returns plain data, opens what it needs by
path, and so runs as well in another process or on another machine that sees the same paths.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export_pipeline.exports.ordering import blocks
from export_pipeline.exports.request import Compression, Format
from export_pipeline.exports.scanning import Scan, reading
from export_pipeline.exports.windows import Window
from export_pipeline.gzip_member import member

SPAN_WINDOWS: Mapping[Format, int] = {"jsonl": 2, "csv": 2}
"""Windows read together; no part of the bytes. More would decode row groups and, for CSV, plan queries
fewer times, and hold more rows in memory."""

LARGEST_BYTES = 1 << 26
"""Lines after which a window is cut whatever its rows, part of the bytes: memory holds with huge rows too."""

_local = threading.local()

# Arrow's own pools keep what a span has let go of, in every thread that let it go.
pa.set_memory_pool(pa.system_memory_pool())

Longs = npt.NDArray[np.int64]


class RowsChanged(Exception):
    """The rows of a span are not those that were planned."""


@dataclass(frozen=True)
class Span:
    """What one task of the executor encodes."""

    scan: Scan
    windows: tuple[Window, ...]
    format: Format
    compression: Compression


@dataclass(frozen=True)
class EncodedWindow:
    """The bytes of a window, or of a part of a huge one, as they stand in the file, and what they hold.

    ``raw_bytes`` is their length before compression; the instants are those of the first and last
    row, in microseconds since 1970.
    """

    content: tuple[Any, ...]
    rows: int
    raw_bytes: int
    first_us: int
    last_us: int


def spans(
    scan: Scan, windows: tuple[Window, ...], format: Format, compression: Compression
) -> Iterator[Span]:
    """``windows`` in order, gathered into spans; a piece of an instant is a span of its own."""
    gathered: list[Window] = []
    for window in windows:
        if gathered and (window.by_id or gathered[-1].by_id or len(gathered) == SPAN_WINDOWS[format]):
            yield Span(scan, tuple(gathered), format, compression)
            gathered = []
        gathered.append(window)
    if gathered:
        yield Span(scan, tuple(gathered), format, compression)


def encode(span: Span) -> list[EncodedWindow]:
    """The bytes of each window of ``span``, in order.

    Raises:
        RowsChanged: if there are not as many rows as planned.
        FileGone, DamagedData, StorageFull: see ``scanning.reading``.
    """
    with reading(span.scan) as connection:
        return list(_cut(_lines(span, connection), span))


def _lines(span: Span, connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[pa.Array, Longs]]:
    """Lines, a few thousand at a time, and the instants of their rows."""
    for block in blocks(span.scan, span.windows):
        instants = block["timestamp"].combine_chunks().cast(pa.int64()).to_numpy()
        done = 0
        for made in span.scan.lines(span.format, block, connection):
            yield made, instants[done : done + len(made)]
            done += len(made)


def _cut(batches: Iterable[tuple[pa.Array, Longs]], span: Span) -> Iterator[EncodedWindow]:
    lines = _Packed() if span.compression == "gzip" else _AsTheyAre()
    at, taken, rows, first_us, last_us = 0, 0, 0, 0, 0
    for made, instants in batches:
        offsets, text = _buffers(made)
        start = 0
        while start < len(made):
            if at == len(span.windows):
                raise RowsChanged
            expected = span.windows[at].rows
            stop = len(made) if expected is None else min(len(made), start + expected - taken - rows)
            room = int(offsets[start]) + LARGEST_BYTES - lines.size
            stop = min(stop, start + int(np.searchsorted(offsets[start + 1 : stop], room)) + 1)
            if not rows:
                first_us = int(instants[start])
            lines.add(text.slice(int(offsets[start]), int(offsets[stop] - offsets[start])))
            rows += stop - start
            last_us = int(instants[stop - 1])
            start = stop
            if taken + rows == expected or lines.size >= LARGEST_BYTES:
                raw_bytes = lines.size
                yield EncodedWindow(lines.take(), rows, raw_bytes, first_us, last_us)
                at, taken = (at + 1, 0) if taken + rows == expected else (at, taken + rows)
                rows = 0
    if at < len(span.windows) and span.windows[at].rows is None:
        at += 1
        if rows:
            raw_bytes = lines.size
            yield EncodedWindow(lines.take(), rows, raw_bytes, first_us, last_us)
    if at < len(span.windows):
        raise RowsChanged


class _AsTheyAre:
    """The lines of a window as they were made, not copied."""

    def __init__(self) -> None:
        self._pieces: list[pa.Buffer] = []
        self.size = 0

    def add(self, piece: pa.Buffer) -> None:
        self._pieces.append(piece)
        self.size += piece.size

    def take(self) -> tuple[pa.Buffer, ...]:
        taken, self._pieces, self.size = tuple(self._pieces), [], 0
        return taken


class _Packed:
    """The lines of a window gathered in memory that the thread keeps, and compressed there.

    To copy into memory already touched costs next to nothing; into new memory, more than to sort.
    """

    def __init__(self) -> None:
        self._buffer: bytearray = getattr(_local, "buffer", bytearray())
        self.size = 0

    def add(self, piece: pa.Buffer) -> None:
        end = self.size + piece.size
        if end > len(self._buffer):
            self._buffer.extend(bytes(end - len(self._buffer)))
            _local.buffer = self._buffer
        self._buffer[self.size : end] = memoryview(piece)
        self.size = end

    def take(self) -> tuple[pa.Buffer, ...]:
        with memoryview(self._buffer) as everything:
            packed = member(everything[: self.size])
        self.size = 0
        return (pa.py_buffer(packed),)


def _buffers(lines: pa.LargeStringArray) -> tuple[Longs, pa.Buffer]:
    """The offsets and bytes of ``lines``, without copying."""
    _, offsets, text = lines.buffers()
    return np.frombuffer(offsets, np.int64)[lines.offset : lines.offset + len(lines) + 1], text
