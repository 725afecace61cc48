"""A week of sample batches from landing to verified files, counted by nothing but gzip, json and csv."""

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.cli import main
from export_pipeline.days import utc_now

TYPES = ("events", "quality", "ads")
DAYS = 7


class Week:
    """The state root after a sample week was loaded, and what the commands said about it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.end = utc_now().date() - timedelta(days=1)
        self.start = self.end - timedelta(days=DAYS - 1)
        self.landed: dict[str, list[bytes]] = {}
        self.counts: dict[str, dict[str, int]] = {}


def text_of(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


@pytest.fixture(scope="module")
def command() -> Iterator[Callable[..., Any]]:
    with pytest.MonkeyPatch.context() as patch:

        def call(home: Path, *arguments: object) -> Any:
            patch.setenv("EXPORT_PIPELINE_HOME", str(home))
            # The week is over at once, at whatever hour the tests run.
            patch.setenv("EXPORT_PIPELINE_CLOSE_DELAY_MINUTES", "0")
            out = io.StringIO()
            patch.setattr("sys.stdout", out)
            with pytest.raises(SystemExit) as ended:
                main([*map(str, arguments), "--json"])
            patch.undo()
            assert ended.value.code == 0
            return json.loads(out.getvalue())

        yield call


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory, command: Callable[..., Any]) -> Week:
    week = Week(tmp_path_factory.mktemp("week") / "home")
    landing = week.home / "landing"
    size = ("--rows-per-day", 1000, "--users", 50, "--seed", 3)
    command(week.home, "sample", "--to", landing, "--days", DAYS, "--end", week.end, *size)
    for name in TYPES:
        texts = [text_of(path) for path in sorted((landing / name).iterdir())]
        week.landed[name] = [line for text in texts for line in text.split(b"\n") if line.strip()]
    week.counts = command(week.home, "ingest")["dataTypes"]
    return week


def export(command: Callable[..., Any], week: Week, format_: str, out: Path) -> dict[str, Any]:
    days = ("--start", week.start, "--end", week.end, "--data-types", ",".join(TYPES))
    manifest = command(week.home, "export", *days, "--format", format_, "--out", out)
    assert isinstance(manifest, dict)
    return manifest


def test_every_landed_line_is_counted_once(week: Week) -> None:
    for name in TYPES:
        counts = week.counts[name]
        assert counts["received"] == len(week.landed[name])
        assert counts["received"] == sum(
            counts[end] for end in ("accepted", "rejected", "duplicate", "suppressed")
        )
        assert counts["accepted"] > 0
    assert sum(week.counts[name]["rejected"] for name in TYPES) > 0
    assert sum(week.counts[name]["duplicate"] for name in TYPES) > 0


def test_files_that_were_taken_are_gone_from_the_landing_directory(week: Week) -> None:
    assert [path for path in (week.home / "landing").rglob("*") if path.is_file()] == []


def test_accepted_is_exported_in_both_formats(
    week: Week, command: Callable[..., Any], tmp_path: Path
) -> None:
    jsonl, as_csv = tmp_path / "jsonl", tmp_path / "csv"
    export(command, week, "jsonl", jsonl)
    export(command, week, "csv", as_csv)
    for name in TYPES:
        landed = Counter[str]()
        for line in week.landed[name]:
            try:
                landed[json.loads(line)["eventId"]] += 1
            except (ValueError, KeyError, TypeError):
                continue
        lines = b"".join(text_of(path) for path in sorted((jsonl / name).glob("part-*"))).splitlines()
        ids = [json.loads(line)["eventId"] for line in lines]
        assert len(ids) == len(set(ids)) == week.counts[name]["accepted"]
        assert set(ids) <= set(landed)
        [part] = sorted((as_csv / name).glob("part-*"))
        with io.StringIO(text_of(part).decode(), newline="") as text:
            assert [row["eventId"] for row in csv.DictReader(text)] == ids


def test_user_ids_come_from_standard_input_as_they_are(
    week: Week, command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = (
        'select "userId" as id, count(*)::int as rows from engagement_events group by all order by 1 limit 2'
    )
    wanted = command(week.home, "query", sql)
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{row['id']}\r\n" for row in wanted)))
    days = ("--start", week.start, "--end", week.end)
    manifest = command(week.home, "export", *days, "--stdin", "--out", tmp_path / "out")
    assert manifest["filters"]["userCount"] == 2
    assert manifest["rowCount"] == sum(row["rows"] for row in wanted)


def test_no_user_id_on_standard_input_is_not_everybody(
    week: Week, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXPORT_PIPELINE_HOME", str(week.home))
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    days = ["--start", str(week.start), "--end", str(week.end)]
    with pytest.raises(SystemExit) as ended:
        main(["export", *days, "--stdin", "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "filters.userIds is an empty list" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_exports_are_found_right_by_verify(week: Week, command: Callable[..., Any], tmp_path: Path) -> None:
    manifest = export(command, week, "csv", tmp_path / "out")
    assert manifest["complete"] is True
    assert manifest["rowCount"] == sum(counts["accepted"] for counts in week.counts.values())
    assert command(week.home, "verify", tmp_path / "out") == {"ok": True, "problems": []}


def test_one_changed_byte_is_found_and_said_where(
    week: Week, command: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(command, week, "jsonl", tmp_path / "out")
    part = tmp_path / "out" / "quality" / "part-00000.jsonl.gz"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(tmp_path / "out")])
    assert ended.value.code == 1
    assert "quality/part-00000.jsonl.gz" in capsys.readouterr().out


def test_the_same_range_exported_twice_is_the_same_bytes(
    week: Week, command: Callable[..., Any], tmp_path: Path
) -> None:
    files = [
        [(f["name"], f["sha256"]) for f in export(command, week, "jsonl", tmp_path / name)["files"]]
        for name in ("first", "second")
    ]
    assert files[0] == files[1]


def test_taking_the_same_lines_again_changes_nothing(
    week: Week, command: Callable[..., Any], tmp_path: Path
) -> None:
    again = tmp_path / "events" / "again.jsonl"
    again.parent.mkdir()
    again.write_bytes(b"\n".join(week.landed["events"]))
    before = command(week.home, "status")["stored"]
    counts = command(week.home, "ingest", again)["dataTypes"]["events"]
    assert counts["accepted"] == 0
    assert counts["rejected"] == week.counts["events"]["rejected"]
    after = command(week.home, "status")["stored"]
    assert [(s["dataType"], s["rows"], s["days"]) for s in after] == [
        (s["dataType"], s["rows"], s["days"]) for s in before
    ]
    assert again.exists()


def test_status_shows_what_is_stored_and_due(week: Week, command: Callable[..., Any]) -> None:
    status = command(week.home, "status")
    stored = {s["dataType"]: s for s in status["stored"]}
    assert stored["events"]["rows"] == week.counts["events"]["accepted"]
    assert stored["events"]["lastDay"] == str(week.end)
    assert {d["state"] for d in status["due"]["exports"]} <= {"ready", "waiting"}
    assert [d["date"] for d in status["due"]["exports"]][:1] == [str(week.start)]
