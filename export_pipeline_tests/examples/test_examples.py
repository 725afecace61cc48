"""The consumers in docs/examples, run as they are on a file downloaded from the API."""

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.days import midnight, parse_day, utc_now
from export_pipeline_tests.api.conftest import Api
from export_pipeline_tests.exports.conftest import land_rows
from export_pipeline_tests.rows import row
from export_pipeline_tests.system import program

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def said(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.system
def test_node_reads_line_by_line(downloaded: Path, watched: dict[str, float]) -> None:
    assert json.loads(said(program("node"), EXAMPLES / "watch_time.mjs", downloaded)) == pytest.approx(
        watched
    )


def test_pandas_sums_watch_time_by_content(downloaded: Path, watched: dict[str, float]) -> None:
    assert json.loads(said(sys.executable, EXAMPLES / "watch_time.py", downloaded)) == pytest.approx(watched)


def test_duckdb_holds_each_event_once_however_often_it_is_loaded(
    downloaded: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    for _ in range(2):
        counted = said(sys.executable, EXAMPLES / "load_duckdb.py", downloaded, tmp_path / "events.duckdb")
        assert int(counted) == len(rows)


def test_a_consumer_that_runs_again_and_again_stays_complete(api: Api, tmp_path: Path) -> None:
    days = (str(parse_day(api.yesterday, "day") - timedelta(days=1)), api.yesterday)

    def loaded(*late: int) -> tuple[int, int]:
        if late:
            at = midnight(parse_day(days[0], "day") - timedelta(days=late[0] % 7))
            more = [row(5000 + n, timestamp=at + timedelta(seconds=n), receivedAt=at) for n in late]
            land_rows(api.store, api.ledger, more, "events")
        running = subprocess.Popen(
            [sys.executable, EXAMPLES / "stay_complete.py", api.url, tmp_path / "held.duckdb", *days],
            env={**os.environ, "EXPORT_KEY": api.key},
            stdout=subprocess.PIPE,
            text=True,
        )
        while running.poll() is None:
            for job in api.ledger.jobs.open(utc_now()):
                api.work(job.id)
            time.sleep(0.05)
        assert running.returncode == 0
        assert running.stdout is not None
        new, held = running.stdout.read().split()
        return int(new), int(held)

    first, held = loaded()
    assert first == held > 0
    assert loaded(1, 2, 3) == (3, held + 3)
    assert loaded() == (0, held + 3)
    assert loaded(4) == (1, held + 4)


@pytest.mark.system
def test_postgresql_holds_each_event_once_as_it_was(
    downloaded: Path, rows: list[dict[str, Any]], postgresql: str
) -> None:
    for _ in range(2):
        assert int(said(EXAMPLES / "load_postgresql.sh", downloaded, postgresql).split()[-1]) == len(rows)
    query = "select json_object_agg(event_id, data) from events"
    stored = json.loads(said("psql", postgresql, "-qAt", "-c", query))
    assert stored == {line["eventId"]: line["data"] for line in rows}


def test_there_is_a_test_for_every_example() -> None:
    source = Path(__file__).read_text()
    assert {path.name for path in EXAMPLES.iterdir()} == {
        p.name for p in EXAMPLES.iterdir() if p.name in source
    }
