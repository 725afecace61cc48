"""The rows of consecutive windows, decoded from the store's files by pyarrow as they lie there.

Owns which row groups are read, which of their rows count, and which are kept for the next windows.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import chain
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from export_pipeline import objects
from export_pipeline.ahead import in_order
from export_pipeline.events.catalogue import DATA_TYPES, DataType
from export_pipeline.exports.encoding import instants
from export_pipeline.exports.scanning import Scan
from export_pipeline.exports.windows import Window

_HUGE_BYTES = 1 << 26
"""Of a row group, decoded at once."""

_CACHED_BYTES = 1 << 25
"""Of row groups kept for other windows, in a process."""

_SOME_ROWS = 1 << 16
"""Counted at once."""

_COUNTED_AT_ONCE = 2
"""Files whose rows are counted side by side; before they all are, no window of a day is made."""

_DISTINCT = ("data", "eventId")
"""Texts that differ from row to row; the others are read as the dictionaries they are stored as."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Flags = npt.NDArray[np.bool_]
Longs = npt.NDArray[np.int64]
_Group = tuple[UPath, tuple[int, int], int]


def decoded(scan: Scan, windows: Sequence[Window]) -> Iterator[pa.Table]:
    """The rows of each row group that are of ``windows``, as they lie in the files.

    Raises:
        OSError, pa.ArrowException: if a file is gone, or cannot be read.
    """
    begin, end = _us(windows[0].begin), _us(windows[-1].end)
    for file, groups in _overlapping(scan, begin, end):
        with ExitStack() as stack:
            opened: pq.ParquetFile | None = None
            for number in groups:
                group = file.path, file.state, number
                found: Iterable[tuple[pa.Table, Flags]]
                if cached := _cache.get(group):
                    found = [(cached, _wanted(scan, windows, cached))]
                else:
                    opened = opened or stack.enter_context(_opened(scan, file))
                    found = _decoded(opened, number, scan, windows)
                low, high = file.ranges[number]
                for rows, wanted in found:
                    is_whole = len(rows) == file.metadata.row_group(number).num_rows
                    if is_whole and (low < begin or high >= end):
                        _cache.asked(group, rows, _count(rows, begin, end))
                    if wanted.any():
                        yield _only(rows, wanted)


def histogram(scan: Scan, begin: datetime, length: timedelta, unit: timedelta) -> tuple[Longs, Longs]:
    """Units since ``begin`` that hold rows of ``scan``, of those in ``length``, and how many rows.

    Raises:
        OSError, pa.ArrowException: if a file is gone, or cannot be read.
    """
    window = Window(begin, begin + length, None)
    counts = np.zeros(length // unit, np.int64)
    with ThreadPoolExecutor(_COUNTED_AT_ONCE) as threads:
        files = _overlapping(scan, _us(window.begin), _us(window.end))
        count = partial(_counted, scan, window, unit)
        with closing(in_order(threads.submit, count, files, 2 * _COUNTED_AT_ONCE)) as found:
            for first, each in chain.from_iterable(found):
                counts[first : first + len(each)] += each
    there = np.flatnonzero(counts)
    return there, counts[there]


def dictionaries(kind: DataType) -> list[str]:
    """The columns that are read as dictionaries."""
    texts = [field.name for field in kind.incoming_fields if field.type == "string" and not field.datetime]
    return [name for name in texts if name not in _DISTINCT]


@dataclass
class _Cached:
    """A row group, and how many of its rows have not been asked for."""

    rows: pa.Table
    left: int


class _Cache:
    """Row groups with rows of other windows too, until these have been asked for or there are too many.

    So a row group is decoded once, wherever windows are cut.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._cached: OrderedDict[_Group, _Cached] = OrderedDict()
        self._bytes = 0

    def get(self, group: _Group) -> pa.Table | None:
        """The rows of a group, if they are here."""
        with self._lock:
            cached = self._cached.get(group)
            if cached is None:
                return None
            self._cached.move_to_end(group)
            return cached.rows

    def asked(self, group: _Group, rows: pa.Table, count: int) -> None:
        """Keep the rows of a group as long as some are left; ``count`` are asked for now."""
        if rows.nbytes > _CACHED_BYTES // 4:
            return
        with self._lock:
            if group not in self._cached:
                self._cached[group] = _Cached(rows, len(rows))
                self._bytes += rows.nbytes
            self._cached[group].left -= count
            if self._cached[group].left <= 0:
                self._drop(group)
            while self._bytes > _CACHED_BYTES:
                self._drop(next(iter(self._cached)))

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._cached.clear()
            self._bytes = 0

    def _drop(self, group: _Group) -> None:
        self._bytes -= self._cached.pop(group).rows.nbytes


_cache = _Cache()


def let_go() -> None:
    """Let go of the rows that were kept for other windows."""
    _cache.clear()


@dataclass(frozen=True)
class _File:
    """A store file as it is now, what is known of it, and between which instants each group lies."""

    path: UPath
    state: tuple[int, int]
    metadata: pq.FileMetaData
    ranges: list[tuple[float, float]]


def _overlapping(scan: Scan, begin: int, end: int) -> Iterator[tuple[_File, list[int]]]:
    """The files with rows between two instants, and the row groups they are in."""
    for path in scan.files:
        file = _file(path)
        groups = [number for number, (low, high) in enumerate(file.ranges) if low < end and high >= begin]
        if groups:
            yield file, groups


def _counted(
    scan: Scan, window: Window, unit: timedelta, overlapping: tuple[_File, list[int]]
) -> list[tuple[int, Longs]]:
    """The rows of a file that are of ``window``, some thousand at a time: the first unit that holds some, and
    how many it and each that follows hold."""
    file, groups = overlapping
    counted = []
    with _opened(scan, file) as opened:
        for batch in opened.iter_batches(_SOME_ROWS, groups, columns=_keys(scan, window), use_threads=False):
            rows = pa.Table.from_batches([batch])
            us = (instants(rows) - _us(window.begin))[_wanted(scan, [window], rows)]
            if len(us):
                units = us // (unit // _MICROSECOND)
                first = int(units.min())
                counted.append((first, np.bincount(units - first)))
    return counted


def _keys(scan: Scan, window: Window) -> list[str]:
    """The columns that tell which rows are wanted."""
    asked = {"timestamp", "batchSequence", *scan.parameters(), *(["eventId"] * window.by_id)}
    return [name for name in scan.columns if name in asked]


def _opened(scan: Scan, file: _File) -> pq.ParquetFile:
    return pq.ParquetFile(
        objects.for_arrow(file.path),
        metadata=file.metadata,
        read_dictionary=[name for name in dictionaries(DATA_TYPES[scan.data_type]) if name in scan.columns],
        pre_buffer=objects.is_remote(file.path),  # one request for the columns of a group
    )


def _decoded(
    file: pq.ParquetFile, group: int, scan: Scan, windows: Sequence[Window]
) -> Iterator[tuple[pa.Table, Flags]]:
    """A row group, and which of its rows are wanted: all at once, unless they are huge or none is."""
    keys = _keys(scan, windows[0])
    others = [name for name in scan.columns if name not in keys]
    found = file.read_row_group(group, columns=keys, use_threads=False)
    wanted = _wanted(scan, windows, found)
    if not wanted.any():
        return
    stored = file.metadata.row_group(group)
    rows = max(1, stored.num_rows * _HUGE_BYTES // max(_HUGE_BYTES, stored.total_byte_size))
    start = 0
    for batch in file.iter_batches(rows, [group], columns=others, use_threads=False):
        piece = found.slice(start, len(batch))
        for name in others:
            piece = piece.append_column(name, batch[name])
        yield piece, wanted[start : start + len(batch)]
        start += len(batch)


def _file(path: UPath) -> _File:
    if objects.is_remote(path):
        return _stored(path, (0, 0))  # the name of an object is never given to another
    found = path.stat()
    return _stored(path, (found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=4096)
def _stored(path: UPath, state: tuple[int, int]) -> _File:
    metadata = pq.read_metadata(objects.for_arrow(path))
    place = metadata.schema.names.index("timestamp")
    ranges = [_range(metadata.row_group(n).column(place)) for n in range(metadata.num_row_groups)]
    return _File(path, state, metadata, ranges)


def _range(column: pq.ColumnChunkMetaData) -> tuple[float, float]:
    known = column.statistics
    if known is None or not known.has_min_max:
        return float("-inf"), float("inf")
    return _us(known.min), _us(known.max)


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _within(rows: pa.Table, begin: int, end: int) -> Flags:
    us = instants(rows)
    return (us >= begin) & (us < end)


def _count(rows: pa.Table, begin: int, end: int) -> int:
    return int(np.count_nonzero(_within(rows, begin, end)))


def _wanted(scan: Scan, windows: Sequence[Window], rows: pa.Table) -> Flags:
    """Which rows of a group are of ``windows`` and part of the export."""
    first = windows[0]
    wanted = _within(rows, _us(first.begin), _us(windows[-1].end))
    if "batchSequence" in scan.columns:
        sequences = rows["batchSequence"].to_numpy()
        wanted &= (sequences <= scan.watermark) & (sequences > scan.after)
    if first.first_id is not None:
        wanted &= pc.greater_equal(rows["eventId"], first.first_id).to_numpy()
    if first.last_id is not None:
        wanted &= pc.less(rows["eventId"], first.last_id).to_numpy()
    for name, values in scan.parameters().items():
        for_each = rows[name].combine_chunks()
        listed = pc.is_in(for_each.dictionary, pa.array(values, for_each.dictionary.type))
        known = np.append(listed.to_numpy(zero_copy_only=False), False)
        wanted &= known[for_each.indices.fill_null(len(known) - 1).to_numpy()]
    return wanted


def _only(rows: pa.Table, wanted: Flags) -> pa.Table:
    places = np.flatnonzero(wanted)
    if len(places) and places[-1] - places[0] + 1 == len(places):
        return rows.slice(places[0], len(places))
    return rows.take(pa.array(places))
