"""The lines of a published export that stay when it is rewritten: taken out of its files, byte for byte, and
kept day by day in files of their own until they are written again.
"""

from concurrent.futures import Executor
from contextlib import ExitStack, closing
from datetime import date
from functools import partial
from pathlib import Path
from shutil import rmtree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from export_pipeline.ahead import in_order
from export_pipeline.exports.editing import Edit, Lines, edited
from export_pipeline.exports.manifest import Manifest
from export_pipeline.exports.readback import row_blocks
from export_pipeline.exports.request import Filters
from export_pipeline.exports.scanning import LineScan

_DAY_US = 86_400_000_000
_SCHEMA = pa.schema(
    [("timestamp", pa.timestamp("us", "UTC")), ("eventId", pa.string()), ("line", pa.large_string())]
)


class KeptLines:
    """The lines of a data type that stay, by day; ``removed`` the ids of the events that went, ``replaced``
    how many ids were taken out of lines that stay."""

    def __init__(self, made_in: Path, data_type: str) -> None:
        """None yet; their files are made in a folder of ``made_in``."""
        self._folder = made_in / f"kept-{data_type}"
        self._folder.mkdir()
        self._spill = made_in / "spill"
        self._data_type = data_type
        self._writers: dict[int, pq.ParquetWriter] = {}
        self.removed: list[str] = []
        self.replaced = 0

    def gather(self, folder: UPath, manifest: Manifest, edit: Edit, executor: Executor, ahead: int) -> None:
        """Take the lines that stay out of the part files of an export, in order.

        Args:
            ahead: how many blocks are edited side by side at most.

        Raises:
            DamagedData: if a file is not as it was published.
        """
        blocks = (
            block
            for file in manifest.files
            if file.data_type == self._data_type
            for block in row_blocks(
                folder / file.name, self._data_type, manifest.format, manifest.compression
            )
        )
        work = partial(edited, edit, self._data_type, manifest.format)
        with ExitStack() as stack:
            edits = stack.enter_context(closing(in_order(executor.submit, work, blocks, ahead)))
            for lines in edits:
                self.removed += lines.removed.to_pylist()
                self.replaced += lines.replaced
                self._add(lines, stack)

    def _add(self, lines: Lines, stack: ExitStack) -> None:
        days = lines.us // _DAY_US
        for day in np.unique(days).tolist():
            begin, end = np.searchsorted(days, [day, day + 1])
            if day not in self._writers:
                writer = pq.ParquetWriter(
                    self._path(day), _SCHEMA, compression="lz4", use_dictionary=False,
                    write_statistics=["timestamp"],
                )  # fmt: skip
                self._writers[day] = stack.enter_context(writer)
            columns = [pa.array(lines.us[begin:end]).cast(_SCHEMA.field("timestamp").type)]
            columns += [lines.ids.slice(begin, end - begin), lines.lines.slice(begin, end - begin)]
            self._writers[day].write_table(pa.Table.from_arrays(columns, schema=_SCHEMA))

    def _path(self, day: int) -> Path:
        return self._folder / f"{day}.parquet"

    def scans(self) -> list[LineScan]:
        """The lines as ``write_data_type`` takes them, oldest day first."""
        return [
            LineScan(self._data_type, _date(day), (UPath(self._path(day)),), 0, Filters(), str(self._spill))
            for day in sorted(self._writers)
        ]

    def clear(self) -> None:
        """Let go of the files."""
        rmtree(self._folder)


def _date(day: int) -> date:
    return date.fromordinal(date(1970, 1, 1).toordinal() + day)
