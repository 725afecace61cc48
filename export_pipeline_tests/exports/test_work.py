"""The slow paths stay away: what Python does follows the windows, not the rows."""

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from export_pipeline.exports.planning import plan_day
from export_pipeline.exports.readback import Range, read_range
from export_pipeline.exports.request import Filters, Format
from export_pipeline.exports.scanning import Scan
from export_pipeline.exports.spans import SPAN_WINDOWS, encode, spans
from export_pipeline_tests.exports.encoded import DAY, at, laid_out
from export_pipeline_tests.rows import row

ROWS = 400


def scan_of(folder: Path, rows: int) -> Scan:
    stored = [row(n, timestamp=at(12, n // 60 % 60, n % 60), data='{"note":"a"}') for n in range(rows)]
    return Scan("events", DAY, laid_out(folder / str(rows), stored, "events"), 10, Filters(), str(folder))


def python_calls(folder: Path, format: Format, rows: int) -> int:
    """Calls, of Python and of C, that one window of ``rows`` rows takes until it is read back."""
    calls: Counter[str] = Counter()

    def count(_frame: FrameType, event: str, _argument: Any) -> None:
        calls[event] += 1

    scan = scan_of(folder, rows)
    part = folder / f"{rows}.{format}.gz"
    sys.setprofile(count)
    try:
        (task,) = spans(scan, plan_day(scan, rows).windows, format, "gzip")
        (window,) = encode(task)
        part.write_bytes(b"".join(window.content))
        read = Range(part, "events", format, "gzip", 0, part.stat().st_size, header=False)
        found = read_range(read)
    finally:
        sys.setprofile(None)
    assert (found.rows, found.problems) == (rows, [])
    return calls["call"] + calls["c_call"]


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_ten_times_the_rows_take_no_more_calls_of_python(tmp_path: Path, format: Format) -> None:
    python_calls(tmp_path, format, ROWS)  # what is made once a thread, or once a process, is made here
    few = python_calls(tmp_path, format, ROWS)
    many = python_calls(tmp_path, format, 10 * ROWS)
    assert many < 1.2 * few


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_one_query_reads_several_windows(tmp_path: Path, format: Format) -> None:
    scan = scan_of(tmp_path, ROWS)
    windows = plan_day(scan, ROWS // 12).windows
    tasks = list(spans(scan, windows, format, "gzip"))
    assert len(tasks) == -(-len(windows) // SPAN_WINDOWS["gzip"])
    assert sum(len(window.content) for task in tasks for window in encode(task)) == len(windows)
