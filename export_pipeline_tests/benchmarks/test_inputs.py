"""The days that are measured on: as many rows as promised, no event twice, none outside its day."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from benchmarks.inputs import DATA_TYPE, DAY, Input, many_days, multiplied_day, sampled_day
from benchmarks.plan import Plan
from benchmarks.writers import ours
from export_pipeline.ledger import Ledger
from export_pipeline.sql import parquet
from export_pipeline_tests.benchmarks.conftest import ROWS


def found(given: Input) -> tuple[int, int, int, int]:
    """Rows, different event ids, days, and rows received more than a minute before they happened."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        row = connection.execute(
            "select count(*), count(distinct eventId), count(distinct timestamp::timestamp::date), "
            "count(*) filter (receivedAt::timestamp < timestamp::timestamp - interval 1 minute) "
            f"from {parquet(given.files)}"
        ).fetchone()
    assert row is not None
    return row


def test_a_sampled_day_has_about_the_rows_asked_for(day: Input) -> None:
    assert day.rows == pytest.approx(ROWS, rel=0.05)
    assert found(day) == (day.rows, day.rows, 1, 0)


def test_a_multiplied_day_has_each_row_once_a_copy(inputs: Path, day: Input) -> None:
    made = multiplied_day(inputs, day, 4)
    assert made.rows == 4 * day.rows
    assert found(made) == (made.rows, made.rows, 1, 0)


def test_many_days_have_about_the_rows_asked_for_each(inputs: Path, day: Input) -> None:
    made = many_days(inputs, day, 3, 500, DAY)
    states = Ledger(made.settings).read_days(DATA_TYPE, DAY - timedelta(days=5), DAY).states
    assert sorted(states) == [DAY - timedelta(days=2), DAY - timedelta(days=1), DAY]
    assert all(state.rows == pytest.approx(500, rel=0.2) for state in states.values())
    assert found(made) == (made.rows, made.rows, 3, 0)


def test_an_input_is_made_once(inputs: Path, day: Input) -> None:
    files = {path: path.stat().st_mtime_ns for path in day.home.rglob("*.parquet")}
    assert sampled_day(inputs, ROWS) == day
    assert {path: path.stat().st_mtime_ns for path in day.home.rglob("*.parquet")} == files


def test_what_the_store_counts_is_exported_from_a_made_day(inputs: Path, day: Input, tmp_path: Path) -> None:
    made = multiplied_day(inputs, day, 4)
    ours.write(str(made.home), DATA_TYPE, str(made.end), "jsonl", "gzip", str(tmp_path / "export"))
    assert (tmp_path / "export" / "manifest.json").exists()


def test_outputs_of_a_killed_run_are_swept_and_those_of_a_live_one_kept(tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", "pass"])
    killed.wait()
    plan = Plan(tmp_path)
    left = tmp_path / f"outputs-{killed.pid}" / "export"
    left.mkdir(parents=True)
    plan.outputs.mkdir()
    plan.sweep()
    assert [path.name for path in tmp_path.iterdir()] == [f"outputs-{os.getpid()}"]
