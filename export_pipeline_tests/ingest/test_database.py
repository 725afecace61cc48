"""A DuckDB database as a source: what is new is taken, once, by the rules that hold for files."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from export_pipeline.days import utc_now
from export_pipeline.errors import InvalidRequest, TransientError
from export_pipeline.ingest import Report, ingest_database, new_targets
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.views import query

BEGIN = (utc_now() - timedelta(days=2)).replace(hour=12, minute=0, second=0, microsecond=0)
COLUMNS = """event varchar, "contentId" varchar, "userId" varchar, "timestamp" timestamp,
    "sessionId" varchar, "deviceType" varchar, data json, "deviceId" varchar, country varchar,
    "eventId" varchar, "receivedAt" timestamp"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "source.duckdb"
    with duckdb.connect(str(made)) as connection:
        connection.execute(f"create table engagement_events ({COLUMNS})")
    return made


def insert(path: Path, number: int, received: datetime | None = None, **values: object) -> None:
    at = BEGIN + timedelta(seconds=number)
    row = {
        "event": "playStart",
        "contentId": "vid_1",
        "userId": "user_00000001",
        "timestamp": at.replace(tzinfo=None),
        "deviceType": "ios",
        "data": '{"startupTime":5,"other":[1,{"a":null}]}',
        "eventId": f"evt_{number}",
        "receivedAt": (received or at).replace(tzinfo=None),
    } | values
    with duckdb.connect(str(path)) as connection:
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" for _ in row)
        connection.execute(f"insert into engagement_events ({names}) values ({marks})", list(row.values()))


def take(settings: Settings, store: Store, ledger: Ledger, path: Path) -> Report:
    return ingest_database(settings, store, ledger, path)


def ids(settings: Settings, store: Store) -> list[str]:
    rows = query(settings, store, 'select "eventId" from engagement_events order by 1').fetchall()
    return [name for (name,) in rows]


def test_rows_come_in_as_lines_would(settings: Settings, store: Store, ledger: Ledger, path: Path) -> None:
    insert(path, 1)
    counts = take(settings, store, ledger, path).counts["events"]
    assert (counts.received, counts.accepted) == (1, 1)
    stored = query(settings, store, 'select data, "timestamp", "sessionId" from engagement_events').fetchall()
    instant = (BEGIN + timedelta(seconds=1)).replace(tzinfo=None)
    assert stored == [('{"startupTime":5,"other":[1,{"a":null}]}', instant, None)]


def test_what_was_taken_is_not_taken_again(
    settings: Settings, store: Store, ledger: Ledger, path: Path
) -> None:
    insert(path, 1)
    take(settings, store, ledger, path)
    insert(path, 2)
    counts = take(settings, store, ledger, path).counts["events"]
    assert (counts.accepted, counts.duplicate) == (1, 1)
    assert ids(settings, store) == ["evt_1", "evt_2"]


def test_rows_from_before_the_overlap_are_not_read_again(
    settings: Settings, store: Store, ledger: Ledger, path: Path
) -> None:
    insert(path, 1)
    insert(path, 7200)
    take(settings, store, ledger, path)
    assert take(settings, store, ledger, path).counts["events"].received == 1


def test_a_row_that_became_visible_late_comes_with_the_next(
    settings: Settings, store: Store, ledger: Ledger, path: Path
) -> None:
    insert(path, 600)
    take(settings, store, ledger, path)
    insert(path, 5)
    insert(path, 601)
    take(settings, store, ledger, path)
    assert ids(settings, store) == ["evt_5", "evt_600", "evt_601"]


def test_the_sensor_is_told_when_there_is_something_new(
    settings: Settings, store: Store, ledger: Ledger, path: Path
) -> None:
    assert new_targets(settings, ledger, path) == []
    insert(path, 1)
    assert new_targets(settings, ledger, path) == ["events"]
    take(settings, store, ledger, path)
    assert new_targets(settings, ledger, path) == []


def test_a_row_from_the_future_hides_no_later_one(
    settings: Settings, store: Store, ledger: Ledger, path: Path
) -> None:
    insert(path, 1, received=datetime(2090, 1, 1, tzinfo=UTC))
    take(settings, store, ledger, path)
    insert(path, 2, received=utc_now() + timedelta(seconds=1))
    take(settings, store, ledger, path)
    assert ids(settings, store) == ["evt_1", "evt_2"]


def test_rows_that_do_not_say_when_they_were_received_are_taken_the_first_time(
    settings: Settings, store: Store, ledger: Ledger, path: Path
) -> None:
    insert(path, 1, receivedAt=None)
    insert(path, 2)
    assert take(settings, store, ledger, path).counts["events"].accepted == 2
    assert take(settings, store, ledger, path).counts["events"].received == 1
    assert ids(settings, store) == ["evt_1", "evt_2"]


def test_a_bad_row_is_quarantined_like_a_bad_line(
    settings: Settings, store: Store, ledger: Ledger, path: Path
) -> None:
    insert(path, 1, event="nonsense")
    insert(path, 2)
    counts = take(settings, store, ledger, path).counts["events"]
    assert (counts.received, counts.accepted, counts.rejected) == (2, 1, 1)


def test_many_rows_are_taken_in_several_batches(
    settings: Settings, store: Store, ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export_pipeline.ingest.database.BATCH_ROWS", 2)
    for number in range(5):
        insert(path, number)
    report = take(settings, store, ledger, path)
    assert [batch.sequence for batch in report.batches] == [1, 2, 3]
    assert len(ids(settings, store)) == 5


def test_a_struct_column_is_an_object_without_the_fields_an_event_does_not_have(
    settings: Settings, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    path = tmp_path / "struct.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "create table quality_events as select 'rebuffer' as event, 'vid_1' as \"contentId\", "
            '\'user_00000001\' as "userId", \'web\' as "deviceType", 1.5::decimal(6, 2) as "currentTime", '
            "{'duration': 7, 'reason': null::varchar} as data, "
            f"timestamp '{BEGIN.replace(tzinfo=None)}' as \"receivedAt\""
        )
    take(settings, store, ledger, path)
    stored = query(settings, store, 'select data, "currentTime" from quality_events').fetchall()
    assert stored == [('{"duration":7}', 1.5)]


def test_a_file_that_is_no_database_is_refused(
    settings: Settings, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    other = tmp_path / "x.duckdb"
    other.write_bytes(b"not a database")
    for path in (other, tmp_path / "absent.duckdb"):
        with pytest.raises(InvalidRequest, match="must be"):
            take(settings, store, ledger, path)


def test_a_database_without_our_tables_is_refused(
    settings: Settings, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    path = tmp_path / "empty.duckdb"
    duckdb.connect(str(path)).close()
    with pytest.raises(InvalidRequest, match=r"has none of the tables engagement_events"):
        take(settings, store, ledger, path)


def test_a_database_that_is_being_written_is_read_later(
    settings: Settings, store: Store, ledger: Ledger, path: Path
) -> None:
    insert(path, 1)
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys, time\n"
            f"held = duckdb.connect({str(path)!r})\n"
            "print('open', flush=True)\ntime.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"open\n"
    with pytest.raises(TransientError, match="open for writing in another process"):
        take(settings, store, ledger, path)
    writer.kill()
    writer.wait()
    assert take(settings, store, ledger, path).counts["events"].accepted == 1


def test_the_time_zone_of_the_machine_changes_no_instant(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    path, at = tmp_path / "zoned.duckdb", BEGIN.replace(tzinfo=None)
    with duckdb.connect(str(path)) as connection:
        zoned = COLUMNS.replace('"timestamp" timestamp', '"timestamp" timestamptz')
        connection.execute(f"create table engagement_events ({zoned})")
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(
            'insert into engagement_events (event, "userId", "timestamp", "deviceType", "receivedAt") '
            "values ('swipe', 'user_00000001', ?::timestamp, 'ios', ?)",
            [at, at],
        )
    environment = os.environ | {"EXPORT_PIPELINE_HOME": str(settings.home), "TZ": "America/New_York"}

    def call(*arguments: str) -> Any:
        command = [sys.executable, "-m", "export_pipeline", *arguments, "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
        return json.loads(done.stdout)

    assert call("ingest", "--duckdb", str(path))["dataTypes"]["events"]["accepted"] == 1
    [seen] = call("query", 'select "timestamp" as instant from engagement_events')
    [stored] = query(settings, store, 'select "timestamp" from engagement_events').fetchall()
    assert stored == (at,)
    assert datetime.fromisoformat(seen["instant"]) == at
