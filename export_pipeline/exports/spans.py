"""Spans: consecutive windows of a day, read by one query and turned into the bytes of the file.

Owns the function that runs on the executor. It takes and returns plain data, opens what it needs by
path, and so runs as well in another process or on another machine that sees the same paths.
"""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
from isal import isal_zlib

from export_pipeline.days import midnight
from export_pipeline.exports.encoding import lines
from export_pipeline.exports.request import Compression, Format
from export_pipeline.exports.scanning import Scan, reading
from export_pipeline.exports.windows import Window, condition

SPAN_WINDOWS = 4
"""Windows read by one query. More decode each row group fewer times and hold more rows in memory."""

_BATCH_ROWS = 8192
_LEVEL = 2
_GZIP = 31
_local = threading.local()


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
    """The bytes of a window as they stand in the file, in pieces, and what they hold.

    ``raw_bytes`` is their length before compression; the instants are those of the first and last
    row, in microseconds since 1970.
    """

    content: tuple[pa.Buffer, ...]
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
        if gathered and (window.by_id or gathered[-1].by_id or len(gathered) == SPAN_WINDOWS):
            yield Span(scan, tuple(gathered), format, compression)
            gathered = []
        gathered.append(window)
    if gathered:
        yield Span(scan, tuple(gathered), format, compression)


def member(content: bytes | memoryview) -> bytes:
    """``content`` as a gzip member; no time or name is in it, so that the bytes are repeatable."""
    return isal_zlib.compress(content, _LEVEL, _GZIP)


def encode(span: Span) -> list[EncodedWindow]:
    """The bytes of each window of ``span``, in order.

    Raises:
        RowsChanged: if there are not as many rows as planned.
        FileGone, DamagedData, StorageFull: see ``scanning.reading``.
    """
    scan = span.scan
    wanted, parameters = condition(span.windows)
    source = f"(from {scan.source()} where {wanted})"
    query = lines(scan.data_type, span.format, source, *_bounds(span.windows[0].begin, span.windows[-1].end))
    with reading(scan) as connection:
        relation = connection.sql(query, params={**scan.parameters(), **parameters})
        return list(_cut(relation.to_arrow_reader(_BATCH_ROWS), span))


def _bounds(begin: datetime, end: datetime) -> tuple[datetime, datetime]:
    return begin, min(end, midnight(begin.date()) + timedelta(days=1))


def _cut(batches: Iterable[pa.RecordBatch], span: Span) -> Iterator[EncodedWindow]:
    pending: list[pa.Buffer] = []
    at, rows, first_us, last_us = 0, 0, 0, 0
    for batch in batches:
        offsets, text, instants = _buffers(batch)
        start = 0
        while start < batch.num_rows:
            if at == len(span.windows):
                raise RowsChanged
            expected = span.windows[at].rows
            stop = batch.num_rows if expected is None else min(batch.num_rows, start + expected - rows)
            if not rows:
                first_us = int(instants[start])
            pending.append(text.slice(int(offsets[start]), int(offsets[stop] - offsets[start])))
            rows += stop - start
            last_us = int(instants[stop - 1])
            start = stop
            if rows == expected:
                yield _encoded(pending, rows, first_us, last_us, span.compression)
                pending, at, rows = [], at + 1, 0
    if at < len(span.windows) and span.windows[at].rows is None:
        at += 1
        if rows:
            yield _encoded(pending, rows, first_us, last_us, span.compression)
    if at < len(span.windows):
        raise RowsChanged


def _encoded(
    pending: list[pa.Buffer], rows: int, first_us: int, last_us: int, compression: Compression
) -> EncodedWindow:
    raw_bytes = sum(piece.size for piece in pending)
    content = tuple(pending)
    if compression == "gzip":
        content = (pa.py_buffer(member(_together(pending, raw_bytes))),)
    return EncodedWindow(content, rows, raw_bytes, first_us, last_us)


def _together(pieces: list[pa.Buffer], size: int) -> memoryview:
    """The bytes of ``pieces`` one after the other, valid until this thread's next call.

    Memory that the thread keeps costs nothing to copy into; new memory costs more than the copy.
    """
    buffer: bytearray | None = getattr(_local, "buffer", None)
    if buffer is None or len(buffer) < size:
        buffer = _local.buffer = bytearray(size)
    place = 0
    for piece in pieces:
        buffer[place : place + piece.size] = memoryview(piece)
        place += piece.size
    return memoryview(buffer)[:size]


def _buffers(batch: pa.RecordBatch) -> tuple[np.ndarray, pa.Buffer, np.ndarray]:
    """The offsets and bytes of the lines and the instants, without copying."""
    line, us = batch.column("line"), batch.column("us")
    width = np.int64 if pa.types.is_large_string(line.type) else np.int32
    _, offsets, text = line.buffers()
    places = np.frombuffer(offsets, width)[line.offset : line.offset + len(line) + 1]
    moments = np.frombuffer(us.buffers()[1], np.int64)[us.offset : us.offset + len(us)]
    return places, text, moments
