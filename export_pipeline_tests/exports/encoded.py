"""Rows encoded by the real planner and workers, from Parquet files laid out as a test wants them."""

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from upath import UPath

from export_pipeline.exports.encoding import header
from export_pipeline.exports.planning import plan_day
from export_pipeline.exports.request import Compression, Filters, Format
from export_pipeline.exports.scanning import Scan
from export_pipeline.exports.spans import encode, spans
from export_pipeline_tests.rows import NOON, table

DAY: date = NOON.date()
ALL_ROWS = Filters()
SPILL = str(Path(tempfile.gettempdir()) / "export-tests")
"""One folder for all tests, so that a thread keeps its connection; rows this few never go there."""


def laid_out(
    folder: Path, rows: Sequence[Mapping[str, Any]], data_type: str, files: int = 1, row_group: int = 32_768
) -> tuple[UPath, ...]:
    """``rows`` spread over Parquet files, each sorted by instant as the store's are."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(files):
        mine = sorted(rows[number::files], key=lambda row: row["timestamp"])
        paths.append(UPath(folder / f"{number}.parquet"))
        pq.write_table(table(mine, data_type), paths[-1], row_group_size=row_group)
    return tuple(paths)


def content(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    data_type: str,
    format: Format,
    *,
    compression: Compression = "none",
    window_rows: int = 50_000,
    files: int = 1,
    filters: Filters = ALL_ROWS,
    executor: Executor | None = None,
) -> bytes:
    """The bytes of the windows of ``rows``, in order, after the header."""
    scan = Scan(data_type, DAY, laid_out(folder, rows, data_type, files), 10, filters, SPILL)
    plan = plan_day(scan, window_rows)
    tasks = list(spans(scan, plan.windows, format, compression))
    results = executor.map(encode, tasks) if executor else map(encode, tasks)
    return header(data_type, format) + b"".join(
        piece for windows in results for w in windows for piece in w.content
    )


def at(hour: int, minute: int = 0, second: int = 0, millisecond: int = 0) -> datetime:
    """An instant of the day."""
    return datetime(DAY.year, DAY.month, DAY.day, hour, minute, second, millisecond * 1000, tzinfo=UTC)
