"""The rows of consecutive windows, put in export order.

Owns the order (contract, section 3: by instant, then by the bytes of ``eventId``). Memory follows the
windows; what does not fit waits in files.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.exports.decoding import decoded
from export_pipeline.exports.encoding import Rows, instants
from export_pipeline.exports.scanning import Scan
from export_pipeline.exports.windows import Window

BLOCK_BYTES = 1 << 26
"""Of ``data`` put in order at once. Twice as many bytes of rows are held in memory, the others in files."""

Longs = npt.NDArray[np.int64]


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
