"""Spans: consecutive windows of a day, read by one query and turned into the bytes of the file.

Owns the function that runs on the executor. It takes and returns plain data, opens what it needs by
path, and so runs as well in another process or on another machine that sees the same paths.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from export_pipeline.exports.ordering import blocks
from export_pipeline.exports.request import Compression, Format
from export_pipeline.exports.scanning import Scan, reading
from export_pipeline.exports.scratch import Scratch
from export_pipeline.exports.windows import Window
from export_pipeline.gzip_member import member

SPAN_WINDOWS: Mapping[Compression, int] = {"gzip": 2, "none": 1}
"""Windows read together; no part of the bytes. More take fewer steps, and hold more in memory."""

LARGEST_BYTES = 1 << 26
"""Lines after which a window is cut whatever its rows, part of the bytes: memory holds with huge rows too."""

_local = threading.local()

# Arrow's own pools keep what a span has let go of, in every thread that let it go.
pa.set_memory_pool(pa.system_memory_pool())


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
        if gathered and (window.by_id or gathered[-1].by_id or len(gathered) == SPAN_WINDOWS[compression]):
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
        return list(_cut(span, connection))


def _cut(span: Span, connection: duckdb.DuckDBPyConnection) -> Iterator[EncodedWindow]:
    lines = _scratch()
    at, taken, rows, first_us, last_us = 0, 0, 0, 0, 0
    for block in blocks(span.scan, span.windows):
        made = span.scan.lines(span.format, block, connection)
        start = 0
        while start < len(block):
            if at == len(span.windows):
                raise RowsChanged
            expected = span.windows[at].rows
            stop = len(block) if expected is None else min(len(block), start + expected - taken - rows)
            stop = made.write(start, stop, lines, LARGEST_BYTES)
            if not rows:
                first_us = int(block.us[start])
            rows += stop - start
            last_us = int(block.us[stop - 1])
            start = stop
            if taken + rows == expected or lines.size >= LARGEST_BYTES:
                yield _window(lines, span.compression, rows, first_us, last_us)
                at, taken = (at + 1, 0) if taken + rows == expected else (at, taken + rows)
                rows = 0
    if at < len(span.windows) and span.windows[at].rows is None:
        at += 1
        if rows:
            yield _window(lines, span.compression, rows, first_us, last_us)
    if at < len(span.windows):
        raise RowsChanged


def _window(
    lines: Scratch, compression: Compression, rows: int, first_us: int, last_us: int
) -> EncodedWindow:
    raw_bytes = lines.size
    if compression == "gzip":
        content = pa.py_buffer(member(lines.written()))
        lines.size = 0
    else:
        content = lines.handed_over()
    return EncodedWindow((content,), rows, raw_bytes, first_us, last_us)


def _scratch() -> Scratch:
    """Memory that the thread keeps, empty."""
    held: Scratch | None = getattr(_local, "scratch", None)
    if held is None:
        held = _local.scratch = Scratch()
    held.size = 0
    return held
