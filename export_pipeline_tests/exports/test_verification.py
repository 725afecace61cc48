"""Verifying finds each kind of damage and says what is wrong and where."""

import gzip
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from export_pipeline.exports import DailyExport, verify
from export_pipeline.files import to_json
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.settings import load as load_settings
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import export_rows, land_rows
from export_pipeline_tests.rows import row

PART = {"jsonl": "events/part-00000.jsonl.gz", "csv": "events/part-00000.csv.gz"}


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Settings, DailyExport]]:
    """An export of each format, each in a deployment of its own; not to be changed."""
    made = {}
    for format_ in PART:
        home = load_settings({"EXPORT_PIPELINE_HOME": str(tmp_path_factory.mktemp("intact"))})
        store, ledger = Store(home), Ledger(home)
        land_rows(store, ledger, [row(n, data='{"note":"a, \\"b\\""}') for n in range(50)], "events")
        made[format_] = home, export_rows(home, store, ledger, format=format_)
    return made


@pytest.fixture(params=["jsonl", "csv"])
def export(
    request: pytest.FixtureRequest, intact: dict[str, tuple[Settings, DailyExport]], settings: Settings
) -> DailyExport:
    """A copy for one test to damage."""
    home, original = intact[request.param]
    shutil.copytree(home.exports, settings.exports)
    return replace(original, path=settings.exports / original.path.relative_to(home.exports))


def part(export: DailyExport) -> Path:
    return export.path / export.manifest.files[0].name


def edit(export: DailyExport, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the lines of the part, in gzip that is intact."""
    lines = gzip.decompress(part(export).read_bytes()).splitlines(keepends=True)
    part(export).write_bytes(gzip.compress(b"".join(change(lines))))


def problems(export: DailyExport) -> str:
    report = verify(export.path)
    assert not report.ok
    return "\n".join(report.problems)


def test_an_export_just_made_is_in_order(export: DailyExport) -> None:
    report = verify(export.path)
    assert (report.ok, report.problems, report.exports) == (True, (), 1)


def test_a_manifest_made_before_there_were_increments_is_in_order(export: DailyExport) -> None:
    path = export.path / "manifest.json"
    manifest = json.loads(path.read_bytes())
    path.write_bytes(to_json({key: manifest[key] for key in manifest if key not in ("mode", "since")}))
    assert verify(export.path).problems == ()
    path.write_bytes(to_json({key: manifest[key] for key in manifest if key != "since"}))
    assert "has the keys" in problems(export)


def test_a_folder_of_exports_is_verified_as_a_whole(export: DailyExport, settings: Settings) -> None:
    assert verify(settings.exports).exports == 1
    part(export).unlink()
    (problem,) = verify(settings.exports).problems
    assert problem.startswith("daily/events/")
    assert problem.endswith("is missing; the manifest lists it")


def test_a_truncated_part_is_found(export: DailyExport) -> None:
    part(export).write_bytes(part(export).read_bytes()[:-20])
    found = problems(export)
    assert "ends inside a gzip member" in found
    assert f"has {export.bytes - 20} bytes; the manifest says {export.bytes}" in found


def test_bytes_after_the_end_are_found(export: DailyExport) -> None:
    part(export).write_bytes(part(export).read_bytes() + b"x" * 20)
    assert "is not intact gzip" in problems(export)


def test_a_removed_row_is_found(export: DailyExport) -> None:
    edit(export, lambda lines: lines[:10] + lines[11:])
    assert "rows; the manifest says 50" in problems(export)


def test_a_repeated_row_is_found(export: DailyExport) -> None:
    edit(export, lambda lines: lines[:11] + lines[10:])
    assert "is not after the row before it" in problems(export)


def test_rows_out_of_order_are_found_with_their_place(export: DailyExport) -> None:
    edit(export, lambda lines: [*lines[:20], lines[21], lines[20], *lines[22:]])
    place = 22 if export.manifest.format == "jsonl" else 21
    assert f"{export.manifest.files[0].name} row {place} is not after the row before it" in problems(export)


def test_rows_in_another_part_of_unicode_order_are_found(export: DailyExport) -> None:
    edit(export, lambda lines: [line.replace(b"ses_1", b"ses_\xff", 1) for line in lines])
    assert "is not UTF-8" in problems(export)


def test_another_data_type_is_found(export: DailyExport) -> None:
    ending = b'"events"}' if export.manifest.format == "jsonl" else b",events"
    edit(export, lambda lines: [line.replace(ending, ending.replace(b"events", b"ads")) for line in lines])
    assert "row 1 is not" in problems(export)


def test_an_unknown_event_is_found(export: DailyExport) -> None:
    edit(export, lambda lines: [line.replace(b"impression", b"impressed") for line in lines])
    assert verify(export.path).problems[0].startswith(f"{export.manifest.files[0].name} row 1 ")


@pytest.mark.parametrize("export", ["jsonl"], indirect=True)
@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b'"contentId":"vid_1","userId":', b'"userId":"vid_1","contentId":'),
        (b'"sessionId":"ses_1",', b""),
        (b'"country":"DE"', b'"country":7'),
        (b'"country":"DE"', b'"country":"DE","more":1'),
        (b'"sessionId":"ses_1"', b'"sessionId":"ses_1'),
        (b'"data":{"note":', b'"data":{"note"'),
        (b'"data":{', b'"data":{{'),
        (b"T12:00:01Z", b"T12:00:01.000Z"),
        (b"T12:00:01Z", b"T12:00:61Z"),
        (b"T12:00:01Z", b"T12:00:01"),
        (b'{"event"', b'\xef\xbb\xbf{"event"'),
    ],
)
def test_a_jsonl_row_that_is_not_as_it_must_be_is_found(export: DailyExport, good: bytes, bad: bytes) -> None:
    edit(export, lambda lines: [lines[0], lines[1].replace(good, bad), *lines[2:]])
    assert f"{PART['jsonl']} row 2 " in problems(export)


@pytest.mark.parametrize("export", ["csv"], indirect=True)
@pytest.mark.parametrize(
    ("good", "bad", "says"),
    [
        (b"vid_1", b"vid_1,x", "row 2 does not have"),
        (b"vid_1", b"=1+1", "has a formula in contentId"),
        (b"user_00000001", b"", "has no userId"),
        (b"T12:00:01Z", b"T12:00:61Z", "has an instant that does not exist"),
        (b"T12:00:01Z", b" 12:00:01Z", "has a timestamp that is no instant"),
        (b"ios", b"tv", "has another deviceType than ios, android, web"),
        (b'"{""', b'"x{""', "has no JSON object in data.extra"),
    ],
)
def test_a_csv_row_that_is_not_as_it_must_be_is_found(
    export: DailyExport, good: bytes, bad: bytes, says: str
) -> None:
    edit(export, lambda lines: [*lines[:2], lines[2].replace(good, bad, 1), *lines[3:]])
    assert says in problems(export)


@pytest.mark.parametrize("export", ["csv"], indirect=True)
def test_a_csv_without_its_header_is_found(export: DailyExport) -> None:
    edit(export, lambda lines: lines[1:])
    assert "does not begin with the header of events" in problems(export)


def test_a_file_too_many_is_found(export: DailyExport) -> None:
    shutil.copy(part(export), part(export).with_name("part-00001.extra"))
    assert "events/part-00001.extra is in the export but not in its manifest" in problems(export)


@pytest.mark.parametrize("name", ["events/schema.json", "events/dictionary.md"])
def test_a_changed_or_missing_description_is_found(export: DailyExport, name: str) -> None:
    (export.path / name).write_bytes((export.path / name).read_bytes().replace(b"event", b"Event", 1))
    assert f"{name} is not what the catalogue says of events" in problems(export)
    (export.path / name).unlink()
    assert f"{name} is missing" in problems(export)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rowCount", 49),
        ("complete", "yes"),
        ("format", "xml"),
        ("dataTypes", ["events", "ads"]),
        ("dateRange", {"start": "2026-11-19", "end": "2026-11-20"}),
        ("days", []),
        ("version", 0),
        ("kind", "hourly"),
        ("createdAt", "yesterday"),
        ("files", []),
        ("manifestVersion", 2),
    ],
)
def test_an_edited_manifest_is_found(export: DailyExport, key: str, value: Any) -> None:
    document = json.loads((export.path / "manifest.json").read_bytes())
    (export.path / "manifest.json").write_text(json.dumps(document | {key: value}, indent=2) + "\n")
    assert problems(export).startswith("manifest.json ")


def test_a_manifest_that_is_no_json_is_found(export: DailyExport) -> None:
    (export.path / "manifest.json").write_bytes(b"{")
    assert "manifest.json cannot be read as JSON" in problems(export)


def test_a_folder_without_an_export_is_a_problem(tmp_path: Path) -> None:
    (problem,) = verify(tmp_path).problems
    assert "holds no export" in problem


def test_files_that_belong_to_no_export_are_found(export: DailyExport, settings: Settings) -> None:
    stray = settings.exports / "daily" / "part-00000.jsonl.gz"
    stray.write_bytes(b"")
    (problem,) = verify(settings.exports).problems
    assert problem == "daily/part-00000.jsonl.gz belongs to no export; no manifest.json is beside it"


@given(place=st.integers(0, 10**6), change=st.integers(1, 255))
@examples(max_examples=60, deadline=None)
def test_one_byte_changed_anywhere_in_a_part_is_found(
    shared: dict[str, DailyExport], place: int, change: int
) -> None:
    for export in shared.values():
        original = part(export).read_bytes()
        damaged = bytearray(original)
        damaged[place % len(original)] ^= change
        part(export).write_bytes(damaged)
        try:
            assert export.manifest.files[0].name in problems(export)
        finally:
            part(export).write_bytes(original)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DailyExport]:
    home = load_settings({"EXPORT_PIPELINE_HOME": str(tmp_path_factory.mktemp("shared"))})
    store, ledger = Store(home), Ledger(home)
    land_rows(store, ledger, [row(n) for n in range(20)], "events")
    return {format: export_rows(home, store, ledger, format=format) for format in PART}


@pytest.mark.parametrize("name", ["manifest.json", "part"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_a_problem_and_not_read(
    export: DailyExport, name: str, make: Callable[[Path], None]
) -> None:
    path = export.path / (name if name == "manifest.json" else export.manifest.files[0].name)
    path.unlink()
    make(path)
    assert f"{path.relative_to(export.path)} is no file" in problems(export)


def test_a_manifest_nested_too_deep_is_a_problem(export: DailyExport) -> None:
    (export.path / "manifest.json").write_text("[" * 100_000)
    assert "manifest.json cannot be read as JSON" in problems(export)
