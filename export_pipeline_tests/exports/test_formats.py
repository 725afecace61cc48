"""What a line of each format looks like, to the byte."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.request import Filters
from export_pipeline_tests.exports.encoded import at, content
from export_pipeline_tests.rows import row


def csv_cells(folder: Path, data: str, data_type: str = "events", **values: Any) -> dict[str, str]:
    """The raw cells of one row whose values hold no commas of their own."""
    header, line = content(folder, [row(1, data_type, data=data, **values)], data_type, "csv").split(b"\n")[
        :2
    ]
    return dict(zip(header.decode().split(","), line.decode().split(","), strict=True))


def test_a_jsonl_line_has_every_field_in_order_and_null_where_null(tmp_path: Path) -> None:
    line = content(tmp_path, [row(1, data='{"position":1}', contentId=None)], "events", "jsonl")
    assert line == (
        b'{"event":"impression","contentId":null,"userId":"user_00000001","timestamp":"2026-11-20T12:00:01Z",'
        b'"sessionId":"ses_1","deviceType":"ios","data":{"position":1},"deviceId":null,"country":"DE",'
        b'"eventId":"evt_00000001","receivedAt":"2026-11-20T12:00:01Z","dataType":"events"}\n'
    )


def test_quality_rows_have_the_playback_position(tmp_path: Path) -> None:
    (line,) = content(tmp_path, [row(1, "quality")], "quality", "jsonl").splitlines()
    assert json.loads(line)["currentTime"] == 1.5


@pytest.mark.parametrize(
    ("millisecond", "text"), [(0, "12:00:00Z"), (7, "12:00:00.007Z"), (500, "12:00:00.500Z")]
)
def test_milliseconds_are_written_only_where_not_zero(tmp_path: Path, millisecond: int, text: str) -> None:
    line = content(tmp_path, [row(1, timestamp=at(12, 0, 0, millisecond))], "events", "jsonl")
    assert json.loads(line)["timestamp"] == f"2026-11-20T{text}"


@pytest.mark.parametrize(
    ("received", "text"),
    [
        (at(23, 59, 59, 999), "2026-11-20T23:59:59.999Z"),
        (at(11, 56), "2026-11-20T11:56:00Z"),
        (at(12).replace(day=23), "2026-11-23T12:00:00Z"),
        (at(12).replace(day=19), "2026-11-19T12:00:00Z"),
    ],
)
def test_rows_received_long_before_or_after_keep_their_instant(
    tmp_path: Path, received: Any, text: str
) -> None:
    line = content(tmp_path, [row(1, receivedAt=received)], "events", "jsonl")
    assert json.loads(line)["receivedAt"] == text


def test_rows_follow_each_other_by_instant_then_by_the_bytes_of_the_event_id(tmp_path: Path) -> None:
    ids = ["b", "B", "é", "a", "10", "9", "Z"]
    rows = [row(1, eventId=name) for name in ids] + [row(0, eventId="zz"), row(2, eventId="0")]
    lines = content(tmp_path, rows, "events", "jsonl").splitlines()
    found = [json.loads(line)["eventId"] for line in lines]
    assert found == ["zz", *sorted(ids, key=str.encode), "0"]


@pytest.mark.parametrize("data_type", DATA_TYPES)
def test_the_csv_header_is_there_whatever_rows_are(tmp_path: Path, data_type: str) -> None:
    header = ",".join(DATA_TYPES[data_type].csv_columns).encode() + b"\n"
    assert content(tmp_path, [row(1, data_type)], data_type, "csv").startswith(header)


@pytest.mark.parametrize(
    ("data", "cell"),
    [
        ('{"entryPoint":null}', ""),
        ("{}", ""),
        ('{"entryPoint":""}', '""'),
        ('{"entryPoint":"=1"}', "'=1"),
        ('{"entryPoint":"+1"}', "'+1"),
        ('{"entryPoint":"-5"}', "'-5"),
        ('{"entryPoint":"@a"}', "'@a"),
        ('{"entryPoint":"\\tx"}', "'\tx"),
        ('{"entryPoint":"\\rx"}', '"\'\rx"'),
        ('{"entryPoint":-5}', "-5"),
        ('{"entryPoint":true}', "true"),
        ('{"entryPoint":"say \\"hi\\""}', '"say ""hi"""'),
        ('{"entryPoint":{"a":1}}', '"{""a"":1}"'),
        ('{"entryPoint":[]}', "[]"),
        ('{"entryPoint":123456789012345678901234567890}', "123456789012345678901234567890"),
    ],
)
def test_a_cell_of_data_tells_null_text_number_and_formula_apart(
    tmp_path: Path, data: str, cell: str
) -> None:
    assert csv_cells(tmp_path, data)["data.entryPoint"] == cell


def test_unknown_keys_of_data_are_kept_as_one_object(tmp_path: Path) -> None:
    cells = csv_cells(tmp_path, '{"position":3,"build":null}')
    assert (cells["data.position"], cells["data.extra"]) == ("3", '"{""build"":null}"')


def test_a_field_of_another_event_keeps_its_own_column(tmp_path: Path) -> None:
    assert csv_cells(tmp_path, '{"platform":"sms"}')["data.platform"] == "sms"


@pytest.mark.parametrize(("user", "cell"), [("=1", "'=1"), ("", '""'), ("a b", "a b"), ("-", "'-")])
def test_text_outside_data_is_defused_too(tmp_path: Path, user: str, cell: str) -> None:
    assert csv_cells(tmp_path, "{}", userId=user)["userId"] == cell


def test_filters_are_or_ed_inside_and_and_ed_between(tmp_path: Path) -> None:
    rows = [row(n, event="like" if n % 2 else "save") for n in range(20)]
    wanted = Filters(content_ids=("vid_1", "vid_2"), event_types=("like",))
    lines = content(tmp_path, rows, "events", "jsonl", filters=wanted).splitlines()
    assert [json.loads(line)["contentId"] for line in lines] == ["vid_1", "vid_2", "vid_1"]


def test_a_filter_of_ten_thousand_users_is_a_filter_like_any_other(tmp_path: Path) -> None:
    wanted = Filters(user_ids=("user_00000003", *(f"it's {n}" for n in range(9_999))))
    lines = content(tmp_path, [row(n) for n in range(20)], "events", "jsonl", filters=wanted).splitlines()
    assert {json.loads(line)["userId"] for line in lines} == {"user_00000003"}


def test_each_window_is_a_gzip_member_without_time(tmp_path: Path) -> None:
    rows = [row(n) for n in range(10)]
    packed = content(tmp_path / "a", rows, "events", "jsonl", compression="gzip", window_rows=5)
    plain = content(tmp_path / "b", rows, "events", "jsonl", window_rows=5)
    assert gzip.decompress(packed) == plain
    assert packed.count(b"\x1f\x8b\x08\x00\x00\x00\x00\x00") == 2
