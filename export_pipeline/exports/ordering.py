"""The rows of consecutive windows: decoded from the store's files by pyarrow, and put in export order.

Owns which row groups are read, which of their rows count, and the order (contract, section 3: by instant,
then by the bytes of ``eventId``). Memory follows the windows; what does not fit waits in files.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from export_pipeline import objects
from export_pipeline.events.catalogue import DATA_TYPES, DataType
from export_pipeline.exports.encoding import Rows, instants
from export_pipeline.exports.scanning import Scan
from export_pipeline.exports.windows import Window

BLOCK_BYTES = 1 << 26
"""Of ``data`` put in order at once. Twice as many bytes of rows are held in memory, the others in files."""

DISTINCT = ("data", "eventId")
"""Texts that differ from row to row; the others are read as the dictionaries they are stored as."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Longs = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def blocks(scan: Scan, windows: Sequence[Window]) -> Iterator[Rows]:
    """The rows of consecutive ``windows`` in order, all of them at once unless they are huge.

    The columns are those of the scan.

    Raises:
        OSError, pa.ArrowException: if a file is gone, or cannot be read.
    """
    tables: list[pa.Table] = []
    held = 0
    for rows in decoded(scan, windows):
        held += rows.nbytes
        tables.append(_set_aside(rows, Path(scan.spill)) if held > 2 * BLOCK_BYTES else rows)
    if not tables:
        return
    us = np.concatenate([instants(rows) for rows in tables])
    order = _order(tables, us)
    if held <= 2 * BLOCK_BYTES:
        yield Rows(tables, order, us[order])
    else:
        yield from _gathered(tables, order, us)


def _set_aside(rows: pa.Table, folder: Path) -> pa.Table:
    """The same rows in a file mapped into memory, which goes when they do."""
    folder.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=folder) as file:
        with pa.ipc.new_file(file, rows.schema) as writer:
            writer.write_table(rows)
        file.flush()
        return pa.ipc.open_file(pa.memory_map(file.name)).read_all()


def decoded(scan: Scan, windows: Sequence[Window]) -> Iterator[pa.Table]:
    """The rows of each row group that are of ``windows``, as they lie in the files."""
    asked = {"timestamp", "batchSequence", *scan.parameters(), *(["eventId"] * windows[0].by_id)}
    keys = [name for name in scan.columns if name in asked]
    others = [name for name in scan.columns if name not in asked]
    repeated = [name for name in dictionaries(DATA_TYPES[scan.data_type]) if name in scan.columns]
    begin, end = _us(windows[0].begin), _us(windows[-1].end)
    for path in scan.files:
        metadata, ranges = _about(path)
        groups = [number for number, (low, high) in enumerate(ranges) if low < end and high >= begin]
        if not groups:
            continue
        with pq.ParquetFile(
            objects.for_arrow(path),
            metadata=metadata,
            read_dictionary=repeated,
            pre_buffer=objects.is_remote(path),  # one request for the columns of a group
        ) as file:
            for group in groups:
                found = file.read_row_group(group, columns=keys, use_threads=False)
                wanted = _wanted(scan, windows, found)
                if wanted.any():
                    for start, rest in _pieces(file, group, others):
                        piece = found.slice(start, len(rest))
                        for name in others:
                            piece = piece.append_column(name, rest[name])
                        yield _only(piece, wanted[start : start + len(rest)])


def _pieces(file: pq.ParquetFile, group: int, columns: list[str]) -> Iterator[tuple[int, pa.Table]]:
    """The columns of a row group, and from which row on: all at once, unless they are huge."""
    stored = file.metadata.row_group(group)
    rows = max(1, stored.num_rows * BLOCK_BYTES // max(BLOCK_BYTES, stored.total_byte_size))
    start = 0
    for batch in file.iter_batches(rows, [group], columns=columns, use_threads=False):
        yield start, pa.Table.from_batches([batch])
        start += len(batch)


def dictionaries(kind: DataType) -> list[str]:
    """The columns that are read as dictionaries."""
    texts = [field.name for field in kind.incoming_fields if field.type == "string" and not field.datetime]
    return [name for name in texts if name not in DISTINCT]


def _about(path: UPath) -> tuple[pq.FileMetaData, list[tuple[float, float]]]:
    """The metadata of a file, read once, and between which instants the rows of its groups lie."""
    if objects.is_remote(path):
        return _stored(path, 0, 0)  # the name of a store file is never given to another
    state = path.stat()
    return _stored(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _stored(path: UPath, size: int, changed: int) -> tuple[pq.FileMetaData, list[tuple[float, float]]]:
    metadata = pq.read_metadata(objects.for_arrow(path))
    place = metadata.schema.names.index("timestamp")
    return metadata, [_range(metadata.row_group(n).column(place)) for n in range(metadata.num_row_groups)]


def _range(column: pq.ColumnChunkMetaData) -> tuple[float, float]:
    known = column.statistics
    if known is None or not known.has_min_max:
        return float("-inf"), float("inf")
    return _us(known.min), _us(known.max)


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _wanted(scan: Scan, windows: Sequence[Window], rows: pa.Table) -> Flags:
    """Which rows of a group are of ``windows`` and part of the export."""
    us = instants(rows)
    first = windows[0]
    wanted = (us >= _us(first.begin)) & (us < _us(windows[-1].end))
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


def _order(tables: Sequence[pa.Table], us: Longs) -> Longs:
    """The places of the rows of ``tables``, one after the other and of the instants ``us``, in order."""
    # Files are sorted, and a stable sort merges sorted runs.
    order = np.argsort(us, kind="stable")
    us = us[order]
    same = us[1:] == us[:-1]
    if same.any():
        tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
        ids = pa.chunked_array([chunk for rows in tables for chunk in rows["eventId"].chunks])
        keys = pa.table({"us": us[tied], "id": ids.take(pa.array(order[tied]))})
        order[tied] = order[tied][pc.sort_indices(keys, [("us", "ascending"), ("id", "ascending")])]
    return order


def _gathered(tables: Sequence[pa.Table], order: Longs, us: Longs) -> Iterator[Rows]:
    """The rows in ``order``, a block at a time, of tables too large to be held together."""
    largest = next(name for name in ("line", "data") if name in tables[0].column_names)
    sizes = np.concatenate([pc.binary_length(rows[largest]).to_numpy() for rows in tables])[order]
    block_of = np.cumsum(sizes) // BLOCK_BYTES
    begins = np.cumsum([0, *(len(rows) for rows in tables)])
    for places in np.split(order, np.flatnonzero(np.diff(block_of)) + 1):
        rising = np.sort(places)
        cuts = np.searchsorted(rising, begins)
        taken = [
            rows.take(pa.array(rising[start:stop] - begin))
            for rows, begin, start, stop in zip(tables, begins, cuts, cuts[1:], strict=False)
            if start < stop
        ]
        yield Rows(taken, np.searchsorted(rising, places), us[places])
