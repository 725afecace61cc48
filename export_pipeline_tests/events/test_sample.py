"""The sample: landing batches that look like real ones, trouble included, the same for the same arguments."""

import errno
import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_pipeline.errors import InvalidRequest, StorageFull
from export_pipeline.events import sample_landing
from export_pipeline.events.catalogue import DATA_TYPES, USER_TABLES
from export_pipeline.events.sample import write_sample

END = date(2026, 2, 10)
DAYS, ROWS, USERS = 3, 30_000, 200
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def plain(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@dataclass(frozen=True)
class Line:
    """A landing line: the file it is in, its bytes, and the object in it, if there is one."""

    data_type: str
    file: str
    raw: bytes
    row: dict[str, Any] | None

    @property
    def refused(self) -> bool:
        """Whether any of the rules for incoming lines that the sample breaks on purpose is broken."""
        row = self.row
        if row is None or "userId" not in row or row["timestamp"] < "2026":
            return True
        event = DATA_TYPES[self.data_type].event.get(row.get("event", ""))
        if event is None or not re.fullmatch(r"\d{4}-.*Z", row["timestamp"]):
            return True
        return not isinstance(row["deviceType"], str) or (event.needs_content and row["contentId"] is None)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def read(root: Path, data_type: str) -> Iterator[Line]:
    for path in sorted((root / data_type).iterdir()):
        for raw in plain(path).splitlines(keepends=True):
            try:
                row = json.loads(raw)
            except ValueError:
                row = None
            yield Line(data_type, path.name, raw, row if isinstance(row, dict) else None)


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("landing")
    write_sample(root, DAYS, END, ROWS, USERS, 11)
    return root


@pytest.fixture(scope="module")
def lines(landing: Path) -> list[Line]:
    return [line for data_type in DATA_TYPES for line in read(landing, data_type)]


@pytest.fixture(scope="module")
def good(lines: list[Line]) -> list[dict[str, Any]]:
    """The rows that ingest should accept, each once."""
    rows = {
        (line.data_type, line.row["eventId"]): line.row for line in lines if line.row and not line.refused
    }
    return [row | {"dataType": data_type} for (data_type, _), row in rows.items()]


@pytest.fixture(scope="module")
def sessions(good: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The rows of each session that says when it ended, by the time they happened."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in good:
        if row["sessionId"] and row["timestamp"] <= row["receivedAt"]:
            found[row["sessionId"]].append(row)
    ordered = [sorted(rows, key=lambda r: r["timestamp"]) for rows in found.values()]
    return [rows for rows in ordered if {"feedEntry", "feedExit"} <= {r["event"] for r in rows}]


def test_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_sample(tmp_path / name, 2, END, 3000, 20, 5)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_the_bytes_are_the_same_on_every_machine(tmp_path: Path) -> None:
    write_sample(tmp_path, 1, END, 2000, 20, 5)
    digest = hashlib.sha256()
    for path in sorted(tmp_path.rglob("*.jsonl*")):
        digest.update(plain(path))
    assert digest.hexdigest() == "f10527486ebf4680d96b26a0914ab4c8ff07871e6c85dcfd96169aaf51a7eac1"


def test_the_number_of_processors_does_not_change_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in (1, 4):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        write_sample(tmp_path / str(count), 2, END, 120_000, 50, 5)
    assert files(tmp_path / "1") == files(tmp_path / "4")


def test_another_seed_gives_other_events(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_sample(tmp_path / str(seed), 1, END, 500, 20, seed)
    one, other = ({line.raw for line in read(tmp_path / seed, "events")} for seed in ("1", "2"))
    assert one
    assert not one & other


def test_what_happens_on_a_day_does_not_depend_on_the_days_around_it(tmp_path: Path) -> None:
    write_sample(tmp_path / "long", 3, END + timedelta(days=1), 2000, 20, 5)
    write_sample(tmp_path / "short", 1, END, 2000, 20, 5)
    long, short = files(tmp_path / "long"), files(tmp_path / "short")
    same = [name for name in short if re.search(rf"(events|quality|ads)/sample-{END}-\d", name)]
    assert len(same) == 3
    assert all(short[name] == long[name] for name in same)


@given(
    days=st.integers(1, 4),
    rows=st.integers(1, 400),
    users=st.integers(1, 300),
    seed=st.integers(0, (1 << 63) - 1),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_size_works_and_reports_what_it_wrote(
    tmp_path_factory: pytest.TempPathFactory, days: int, rows: int, users: int, seed: int
) -> None:
    root = tmp_path_factory.mktemp("any")
    told: list[int] = []
    written = write_sample(root, days, END, rows, users, seed, told.append)
    found = {
        target: {
            "files": len(list((root / target).iterdir())),
            "lines": sum(plain(p).count(b"\n") for p in (root / target).iterdir()),
        }
        for target in written
    }
    assert written == found
    assert sum(told) == sum(count["lines"] for count in written.values())
    assert written["users/profiles"]["lines"] >= users


@pytest.mark.parametrize("rows", [10, 1000, 60_000])
def test_as_many_events_a_day_as_asked(tmp_path: Path, rows: int) -> None:
    written = write_sample(tmp_path, 2, END, rows, 30, 3)
    total = sum(written[data_type]["lines"] for data_type in DATA_TYPES)
    assert total == pytest.approx(2 * rows, rel=0.05)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("days", {"days": 0}),
        ("rows-per-day", {"rows_per_day": 0}),
        ("users", {"users": 0}),
        ("users", {"users": 100_000_000}),
        ("seed", {"seed": -1}),
        ("end", {"end": date(1, 1, 1)}),
    ],
)
def test_an_argument_that_cannot_be_used_is_named(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"days": 1, "end": END, "rows_per_day": 10, "users": 1, "seed": 1} | changes
    with pytest.raises(InvalidRequest, match=f"^{name} is ") as refused:
        write_sample(tmp_path, **arguments)
    assert refused.value.field == name


def test_a_file_where_the_directory_should_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequest, match="must be a directory"):
        write_sample(tmp_path / "file", 1, END, 10, 1, 1)


def test_running_again_after_being_killed_leaves_no_remains(tmp_path: Path) -> None:
    write_sample(tmp_path / "whole", 1, END, 500, 5, 1)
    write_sample(tmp_path / "killed", 1, END, 500, 5, 1)
    landed = next((tmp_path / "killed" / "events").glob("*-00000.jsonl*"))
    landed.unlink()
    landed.with_name(f".{landed.name}.0123.tmp").write_text("half")
    write_sample(tmp_path / "killed", 1, END, 500, 5, 1)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_a_kill_leaves_only_whole_files_and_running_again_completes_them(tmp_path: Path) -> None:
    code = (
        "import sys; from datetime import date; from pathlib import Path; "
        "from export_pipeline.events.sample import write_sample; "
        "write_sample(Path(sys.argv[1]), 3, date(2026, 2, 10), 150_000, 50, 1)"
    )
    killed = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", code, str(killed)])
    while process.poll() is None and len(list(killed.glob("events/sample-*"))) < 3:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    write_sample(tmp_path / "whole", 3, END, 150_000, 50, 1)
    whole = files(tmp_path / "whole")
    visible = {name: content for name, content in files(killed).items() if not name.endswith(".tmp")}
    assert visible
    assert visible.items() <= whole.items()
    write_sample(killed, 3, END, 150_000, 50, 1)
    assert files(killed) == whole


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sample_landing, "write_atomically", full)
    with pytest.raises(StorageFull, match=r"no room is left to write .*/sample-2026-02-10"):
        write_sample(tmp_path, 1, END, 10, 1, 1)


def test_some_files_are_gzip_without_a_time_in_them_and_some_are_plain(landing: Path) -> None:
    for target in DATA_TYPES:
        kinds = Counter(path.suffix for path in (landing / target).iterdir())
        assert set(kinds) == {".gz", ".jsonl"}
    for path in landing.rglob("*.gz"):
        assert path.read_bytes()[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"


def test_no_file_is_longer_than_a_batch_should_be(landing: Path) -> None:
    assert max(plain(path).count(b"\n") for path in landing.rglob("*.jsonl*")) <= 200_000


def test_most_rows_are_playback_and_a_few_are_ads_and_quality(good: list[dict[str, Any]]) -> None:
    share = {key: n / len(good) for key, n in Counter(r["dataType"] for r in good).items()}
    progress = sum(r["event"] == "watchProgress" for r in good) / len(good)
    assert 0.77 < progress < 0.83
    assert 0.01 < share["ads"] < 0.05
    assert 0.01 < share["quality"] < 0.05


def test_every_event_and_field_of_the_catalogue_appears(good: list[dict[str, Any]]) -> None:
    for name, data_type in DATA_TYPES.items():
        for event in data_type.events:
            rows = [r for r in good if (r["dataType"], r["event"]) == (name, event.name)]
            assert rows
            assert {f.name for f in event.fields} <= {key for r in rows for key in r["data"]}
            for field in event.fields:
                if field.values:
                    seen = {r["data"][field.name] for r in rows if isinstance(r["data"][field.name], str)}
                    assert seen == set(field.values)


def test_every_line_has_the_catalogue_s_keys_and_few_have_others(good: list[dict[str, Any]]) -> None:
    unknown = Counter(frozenset(r) - {f.name for f in DATA_TYPES[r["dataType"]].row_fields} for r in good)
    assert set(unknown) == {frozenset(), frozenset({"appVersion"})}
    for row in good:
        assert {f.name for f in DATA_TYPES[row["dataType"]].row_fields} <= set(row)


def test_unknown_data_keys_and_drifted_fields_are_few(good: list[dict[str, Any]]) -> None:
    python = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict}
    extra = drifted = 0
    for row in good:
        known = {f.name: f for f in DATA_TYPES[row["dataType"]].event[row["event"]].fields}
        known_keys = {*known, "currentTime"} if row["dataType"] == "quality" else set(known)
        extra += bool(set(row["data"]) - known_keys)
        drifted += any(
            field.type != "any" and row["data"][name] is not None and not isinstance(row["data"][name], kind)
            for name, field in known.items()
            if (kind := python.get(field.type, object))
        )
    assert 0 < extra < len(good) * 0.004
    assert 0 < drifted < len(good) * 0.002


def test_ids_are_unique_but_for_lines_sent_twice(lines: list[Line]) -> None:
    sent: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in lines:
        if line.row and "eventId" in line.row:
            sent[line.data_type, line.row["eventId"]].append(line)
    twice = [found for found in sent.values() if len(found) > 1]
    assert all(len({line.raw for line in found}) == 1 for found in twice)
    assert 0 < len(twice) < len(lines) * 0.004
    in_one_file = sum(len({line.file for line in found}) == 1 for found in twice)
    assert 0 < in_one_file < len(twice)


def test_late_lines_are_at_most_three_days_late_and_land_by_the_day_after_the_end(
    good: list[dict[str, Any]],
) -> None:
    last = datetime.combine(END + timedelta(days=2), datetime.min.time(), UTC)
    first = datetime.combine(END - timedelta(days=DAYS - 1), datetime.min.time(), UTC)
    late = 0
    for row in good:
        happened, received = instant(row["timestamp"]), instant(row["receivedAt"])
        assert received < last
        assert first <= happened
        assert received - happened <= timedelta(days=3)
        late += happened.date() < received.date()
    assert 0 < late < len(good) * 0.02


def test_nothing_but_future_timestamps_lies_outside_the_days_asked_for(good: list[dict[str, Any]]) -> None:
    for row in good:
        if row["timestamp"] <= row["receivedAt"]:
            assert instant(row["timestamp"]).date() <= END


def test_future_timestamps_are_more_than_five_minutes_ahead(good: list[dict[str, Any]]) -> None:
    ahead = [
        instant(r["timestamp"]) - instant(r["receivedAt"]) for r in good if r["timestamp"] > r["receivedAt"]
    ]
    assert 0 < len(ahead) < len(good) * 0.002
    assert min(ahead) > timedelta(minutes=5)


def test_a_line_lands_in_a_file_of_the_day_it_is_received_unless_it_is_sent_again(lines: list[Line]) -> None:
    days: dict[bytes, set[str]] = defaultdict(set)
    received = {}
    for line in lines:
        if line.row:
            days[line.raw].add(line.file[len("sample-") :][:10])
            received[line.raw] = line.row["receivedAt"][:10]
    assert all(day in days[raw] for raw, day in received.items())


def test_a_file_is_in_the_order_of_arrival(landing: Path) -> None:
    path = landing / "events" / f"sample-{END}-00000.jsonl"
    path = path if path.exists() else path.with_suffix(".jsonl.gz")
    found = [m.decode() for m in re.findall(rb'"receivedAt":"([^"]+)"', plain(path))]
    out_of_order = sum(a > b for a, b in pairwise(found))
    assert out_of_order < len(found) * 0.003


@pytest.mark.parametrize(
    "pattern",
    [
        rb'^\{"event":"[^}]{100,}[^}\n]\n$',
        rb'^\{"event":"[a-zA-Z]+","contentId":[^,]+,"timestamp"',
        rb'"event":"videoTeleported"',
        rb'"timestamp":"2026-[-0-9T:.]+",',
        rb'"timestamp":"202[45]-',
        rb'"deviceType":7',
        rb'"timestamp":"yesterday',
        rb"^\[",
        rb'^\{"contentId"',
        rb"^<html>",
        rb'"event":"watchProgress","contentId":null',
    ],
)
def test_there_are_malformed_lines_of_every_kind(lines: list[Line], pattern: bytes) -> None:
    assert any(re.search(pattern, line.raw) for line in lines if line.refused)


def test_malformed_lines_are_few(lines: list[Line]) -> None:
    assert 0 < sum(line.refused for line in lines) < len(lines) * 0.004


def test_trouble_is_about_one_line_in_a_hundred(lines: list[Line], good: list[dict[str, Any]]) -> None:
    known = {
        name: {k: {f.name for f in e.fields} for k, e in t.event.items()} for name, t in DATA_TYPES.items()
    }
    trouble = len(lines) - len(good)
    for row in good:
        late = row["timestamp"][:10] != row["receivedAt"][:10]
        unknown = set(row["data"]) - known[row["dataType"]][row["event"]] - {"currentTime"}
        trouble += bool(late or unknown or "appVersion" in row)
    assert 0.005 < trouble / len(lines) < 0.02


def test_playback_advances_a_second_at_a_time_and_the_percentage_matches(
    sessions: list[list[dict[str, Any]]],
) -> None:
    compared = 0
    for rows in sessions:
        before: dict[str, Any] | None = None
        for row in rows:
            data = row["data"]
            if row["event"] != "watchProgress":
                before = None if row["event"] in {"impression", "playStart", "swipe"} else before
                continue
            if not all(isinstance(data[k], int | float) for k in ("currentTime", "duration")):
                before = None
                continue
            position, duration = data["currentTime"], data["duration"]
            assert 0 < position <= duration
            assert data["percentComplete"] == pytest.approx(100 * position / duration, abs=0.1)
            if before and before["receivedAt"] == row["receivedAt"]:
                gone = (position - before["data"]["currentTime"]) % duration
                assert gone == pytest.approx(round(gone), abs=1e-6)
                compared += 1
            before = row
    assert compared > 1000


def test_a_session_opens_first_and_closes_last_with_its_totals(sessions: list[list[dict[str, Any]]]) -> None:
    assert sessions
    exact = 0
    for rows in sessions:
        assert rows[0]["event"] == "feedEntry"
        assert rows[-1]["event"] == "feedExit"
        data = rows[-1]["data"]
        if not isinstance(data["totalSessionTime"], int | float) or isinstance(data["videosWatched"], str):
            continue
        length = instant(rows[-1]["timestamp"]) - instant(rows[0]["timestamp"])
        assert data["totalSessionTime"] == pytest.approx(length.total_seconds(), abs=0.011)
        seen = Counter((r["dataType"], r["event"]) for r in rows)
        assert seen["events", "playStart"] <= data["videosWatched"]
        assert seen["ads", "impression"] <= data["adsWatched"]
        exact += (seen["events", "playStart"], seen["ads", "impression"]) == (
            data["videosWatched"],
            data["adsWatched"],
        )
    assert exact > len(sessions) * 0.9


def test_a_swipe_leads_from_the_video_watched_to_the_next(sessions: list[list[dict[str, Any]]]) -> None:
    swipes = 0
    for rows in sessions:
        steps = [
            r for r in rows if (r["dataType"], r["event"]) in {("events", "impression"), ("events", "swipe")}
        ]
        for before, swipe, after in zip(steps, steps[1:], steps[2:], strict=False):
            if [r["event"] for r in (before, swipe, after)] == ["impression", "swipe", "impression"]:
                assert before["contentId"] == swipe["data"]["fromContentId"]
                assert swipe["contentId"] in (before["contentId"], None)
                swipes += 1
                if "position" in after["data"] and str(after["data"]["position"]) == str(
                    int(before["data"]["position"]) + 1
                ):
                    assert after["contentId"] == swipe["data"]["toContentId"]
    assert swipes > 100


def test_people_are_numbered_users_or_the_anonymous_device_before_login(good: list[dict[str, Any]]) -> None:
    anonymous = 0
    for row in good:
        assert UUID.fullmatch(row["deviceId"])
        if not re.fullmatch(r"user_\d{8}", row["userId"]):
            assert row["userId"] == row["deviceId"]
            anonymous += 1
    assert 0.02 < anonymous / len(good) < 0.3


def test_who_logs_in_during_a_session_is_linked_to_the_device(
    landing: Path, sessions: list[list[dict[str, Any]]]
) -> None:
    linked = {
        (link["userId"], link["deviceId"])
        for path in (landing / "users" / "devices").iterdir()
        for link in map(json.loads, plain(path).splitlines())
    }
    logins = 0
    for rows in sessions:
        ids = list(dict.fromkeys(row["userId"] for row in rows))
        if len(ids) > 1:
            assert UUID.fullmatch(ids[0])
            assert (ids[1], ids[0]) in linked
            assert len(ids) == 2
            logins += 1
    assert logins


def test_a_person_keeps_country_and_device(good: list[dict[str, Any]]) -> None:
    countries: dict[str, set[str | None]] = defaultdict(set)
    kinds: dict[str, set[str]] = defaultdict(set)
    for row in good:
        kinds[row["deviceId"]].add(row["deviceType"])
        if row["userId"].startswith("user_"):
            countries[row["userId"]].add(row["country"])
    assert all(len(found) == 1 for found in countries.values())
    assert all(len(found) == 1 for found in kinds.values())
    assert None in {country for found in countries.values() for country in found}


def test_few_contents_are_viewed_often_and_many_seldom(good: list[dict[str, Any]]) -> None:
    views = Counter(r["contentId"] for r in good if r["event"] == "playStart").most_common()
    top = sum(n for _, n in views[: len(views) // 100])
    assert top > sum(n for _, n in views) * 0.15
    assert sum(n == 1 for _, n in views) > len(views) * 0.3


def test_evenings_are_busier_than_nights(good: list[dict[str, Any]]) -> None:
    hours = Counter(int(r["timestamp"][11:13]) for r in good)
    assert sum(hours[h] for h in (19, 20, 21)) > 4 * sum(hours[h] for h in (2, 3, 4))


def test_error_messages_hold_what_breaks_careless_readers(good: list[dict[str, Any]]) -> None:
    messages = {r["data"]["errorMessage"] for r in good if r["event"] == "error"}
    assert {m[0] for m in messages if m} >= set("=+-@\t\r")
    for needed in ('"', "\n", ",", "\\", "😞", "ü"):
        assert any(needed in m for m in messages)
    assert "" in messages


def test_frequent_latecomers_leave_lines_to_suppress(good: list[dict[str, Any]]) -> None:
    late = Counter(r["userId"] for r in good if r["timestamp"][:10] < r["receivedAt"][:10])
    assert sum(late[f"user_{n:08d}"] for n in range(1, 6)) > 0


@pytest.mark.parametrize("table", USER_TABLES)
def test_user_tables_know_every_user_and_have_the_catalogue_s_fields(landing: Path, table: str) -> None:
    described = USER_TABLES[table]
    rows = [
        json.loads(line)
        for path in sorted((landing / "users" / table).iterdir())
        for line in plain(path).splitlines()
    ]
    assert all(list(row) == [f.name for f in described.fields] for row in rows)
    assert {row["userId"] for row in rows} == {f"user_{n:08d}" for n in range(1, USERS + 1)}
    assert all(instant(row[described.newest_by]).tzinfo for row in rows)


def test_some_profiles_change_on_the_way(landing: Path) -> None:
    made: dict[str, set[str]] = defaultdict(set)
    for path in (landing / "users" / "profiles").iterdir():
        for row in map(json.loads, plain(path).splitlines()):
            made[row["userId"]].add(row["createdAt"])
    assert 0 < sum(len(found) > 1 for found in made.values()) < USERS / 2


def test_some_devices_belong_to_two_users(landing: Path) -> None:
    owners: dict[str, set[str]] = defaultdict(set)
    for path in (landing / "users" / "devices").iterdir():
        for row in map(json.loads, plain(path).splitlines()):
            owners[row["deviceId"]].add(row["userId"])
    assert 0 < sum(len(found) > 1 for found in owners.values()) < len(owners) * 0.1
