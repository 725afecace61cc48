"""Windows are cut by what the rows are, not by where they lie or who works on them."""

import gzip
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.exports import ordering, spans
from export_pipeline.exports.planning import DayPlan, plan_day
from export_pipeline.exports.request import Filters
from export_pipeline.exports.scanning import Scan
from export_pipeline_tests import processes
from export_pipeline_tests.exports.encoded import DAY, at, content, laid_out
from export_pipeline_tests.rows import row


def planned(folder: Path, instants: list[datetime], window_rows: int, files: int = 1) -> DayPlan:
    rows = [row(n, timestamp=instant) for n, instant in enumerate(instants)]
    paths = laid_out(folder, rows, "events", files)
    return plan_day(Scan("events", DAY, paths, 10, Filters(), str(folder)), window_rows)


def test_a_window_is_as_many_seconds_as_fit(tmp_path: Path) -> None:
    plan = planned(tmp_path, [at(12, 0, second) for second in range(10)], 4)
    assert [window.rows for window in plan.windows] == [4, 4, 2]


def test_a_second_that_does_not_fit_is_cut_by_milliseconds(tmp_path: Path) -> None:
    instants = [at(12), *(at(12, 0, 1, ms) for ms in range(10)), at(12, 0, 2)]
    plan = planned(tmp_path, instants, 4)
    assert [window.rows for window in plan.windows] == [1, 4, 4, 2, 1]


def test_an_instant_that_does_not_fit_is_cut_by_event_id(tmp_path: Path) -> None:
    plan = planned(tmp_path, [at(12)] * 10, 4)
    assert len(plan.windows) == 3
    assert plan.windows[0].last_id == plan.windows[1].first_id


def test_windows_do_not_cross_midnight(tmp_path: Path) -> None:
    midnight = at(0) + timedelta(days=1)
    plan = planned(tmp_path, [midnight - timedelta(milliseconds=1), midnight], 100)
    assert (plan.rows, plan.windows[-1].end) == (1, midnight)


def test_a_day_without_rows_has_no_windows(tmp_path: Path) -> None:
    assert planned(tmp_path, [at(0) - timedelta(days=1)], 10) == DayPlan((), 0)
    assert plan_day(Scan("events", DAY, (), 10, Filters(), str(tmp_path)), 10) == DayPlan((), 0)


def many() -> list[dict[str, Any]]:
    crowded = [row(n, timestamp=at(13)) for n in range(500)]
    return crowded + [row(n, timestamp=at(12, n % 60, n % 7, n % 3)) for n in range(1_000, 3_000)]


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_the_bytes_do_not_depend_on_how_rows_are_spread_over_files(tmp_path: Path, format: Any) -> None:
    def packed(files: int) -> bytes:
        return content(
            tmp_path / str(files), many(), "events", format, compression="gzip", window_rows=100, files=files
        )

    assert packed(1) == packed(3) == packed(17)


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path, format: Any) -> None:
    def packed(workers: int) -> bytes:
        with ThreadPoolExecutor(workers) as executor:
            return content(
                tmp_path, many(), "events", format, compression="gzip", window_rows=100, executor=executor
            )

    assert packed(1) == packed(2) == packed(4)


def test_windows_can_be_encoded_in_other_processes(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=processes.CONTEXT) as executor:
        elsewhere = content(tmp_path, many(), "events", "jsonl", window_rows=100, executor=executor)
    assert elsewhere == content(tmp_path, many(), "events", "jsonl", window_rows=100)


def test_a_window_of_huge_rows_is_cut_by_bytes_whatever_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(n, data=f'{{"note":"{"x" * (n % 900)}"}}') for n in range(2_000)]
    monkeypatch.setattr(spans, "LARGEST_BYTES", 30_000)

    def packed(files: int) -> bytes:
        return content(tmp_path / str(files), rows, "events", "jsonl", compression="gzip", files=files)

    plain = content(tmp_path, rows, "events", "jsonl")
    assert packed(1) == packed(3)
    assert gzip.decompress(packed(1)) == plain
    assert packed(1).count(b"\x1f\x8b\x08\x00\x00\x00\x00\x00") >= len(plain) // 31_000


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_rows_too_large_for_memory_wait_in_files_and_come_out_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Any
) -> None:
    rows = [row(n, timestamp=at(12, 0, n % 40), data=f'{{"note":"{n}{"x" * 300}"}}') for n in range(3_000)]
    usual = content(tmp_path / "usual", rows, "events", format, files=3)
    monkeypatch.setattr(ordering, "BLOCK_BYTES", 50_000)
    assert content(tmp_path / "huge", rows, "events", format, files=3) == usual


@given(
    moments=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=60),
    window_rows=st.integers(1, 20),
)
@settings(max_examples=25, deadline=None)
def test_every_row_is_in_exactly_one_window(
    tmp_path_factory: pytest.TempPathFactory, moments: list[tuple[int, int]], window_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("windows")
    rows = [row(n, timestamp=at(12, 0, second, ms)) for n, (second, ms) in enumerate(moments)]
    lines = content(folder, rows, "events", "jsonl", window_rows=window_rows).splitlines()
    assert len(lines) == len(rows)
    assert Counter(lines) == Counter(set(lines))
