"""Whatever is stored comes out of both formats as it went in, by the parsers of the standard library."""

import csv
import io
import json
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports import rows as second_reader
from export_pipeline_tests import rows as made
from export_pipeline_tests.exports.encoded import DAY, at, content

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "", "'", '"', '""', ",", "a\nb", "\r\n", "null", "é🎬\u2028",
         " x ", "\\", "{", "[]", "true", "1", "-", "\x00", "\x7f", "\ufeff"]
    ),
)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(-10, 10), st.integers(-(10**40), 10**40), st.floats(allow_nan=False, allow_infinity=False)
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def rows_of(draw: st.DrawFn, data_type: str) -> list[dict[str, Any]]:
    kind = DATA_TYPES[data_type]
    found: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 6))):
        event = draw(st.sampled_from(kind.events))
        own = st.sampled_from([f.name for f in event.fields] or ["note"])
        keys = own | st.sampled_from(kind.data_fields) | TEXTS
        data = draw(st.dictionaries(keys, VALUES, max_size=6))
        happened = at(12) + timedelta(milliseconds=draw(st.integers(0, 3_000)))
        received = happened + timedelta(milliseconds=draw(st.integers(-300_000, 200_000_000)))
        row = {
            "event": event.name,
            "contentId": draw(st.none() | TEXTS),
            "userId": draw(TEXTS),
            "timestamp": happened,
            "sessionId": draw(st.none() | TEXTS),
            "deviceType": draw(st.sampled_from(["ios", "android", "web"])),
            "data": json.dumps(data, ensure_ascii=draw(st.booleans()), separators=(",", ":")),
            "deviceId": draw(st.none() | TEXTS),
            "country": draw(st.none() | TEXTS),
            "eventId": f"{draw(TEXTS)}{number}",
            "receivedAt": received,
            "batchSequence": 1,
        }
        if kind.has_current_time:
            row["currentTime"] = draw(st.none() | st.floats(allow_nan=False, allow_infinity=False))
        found.append(row)
    return found


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["timestamp"], row["eventId"].encode()))


def instant(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    fraction = f".{moment.microsecond // 1000:03d}" if moment.microsecond else ""
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def checked(data_type: str, format: str, lines: bytes, rows: int) -> None:
    found = second_reader.check(data_type, format, lines)
    assert (found.problems, found.rows, found.days) == ([], rows, {DAY: rows})


@pytest.mark.parametrize("data_type", DATA_TYPES)
@given(draw=st.data())
@settings(max_examples=25, deadline=None)
def test_rows_come_out_of_jsonl_as_they_went_in(data_type: str, draw: st.DataObject) -> None:
    rows = draw.draw(rows_of(data_type))
    with tempfile.TemporaryDirectory() as folder:
        lines = content(Path(folder), rows, data_type, "jsonl")
    found = [json.loads(line) for line in lines.split(b"\n")[:-1]]
    for row, out in zip(in_order(rows), found, strict=True):
        assert list(out) == [f.name for f in DATA_TYPES[data_type].row_fields]
        expected = {
            name: instant(value) if isinstance(value, datetime) else value for name, value in row.items()
        } | {"data": json.loads(row["data"]), "dataType": data_type}
        del expected["batchSequence"]
        assert out == expected
    checked(data_type, "jsonl", lines, len(rows))


@pytest.mark.parametrize("data_type", DATA_TYPES)
@given(draw=st.data())
@settings(max_examples=25, deadline=None)
def test_rows_come_out_of_csv_as_they_went_in(data_type: str, draw: st.DataObject) -> None:
    rows = draw.draw(rows_of(data_type))
    with tempfile.TemporaryDirectory() as folder:
        lines = content(Path(folder), rows, data_type, "csv")
    header, *found = csv.reader(io.StringIO(lines.decode(), newline=""), strict=True)
    assert header == list(DATA_TYPES[data_type].csv_columns)
    for row, cells in zip(in_order(rows), found, strict=True):
        assert_cells(data_type, row, dict(zip(header, cells, strict=True)))
    checked(data_type, "csv", lines.partition(b"\n")[2], len(rows))


def assert_cells(data_type: str, row: Mapping[str, Any], cells: dict[str, str]) -> None:
    data = json.loads(row["data"])
    known = DATA_TYPES[data_type].data_fields
    for name in known:
        assert_cell(data.get(name), cells.pop(f"data.{name}"))
    extra = {name: value for name, value in data.items() if name not in known}
    assert json.loads(cells.pop("data.extra") or "{}") == extra
    assert cells.pop("dataType") == data_type
    for name, cell in cells.items():
        value = row[name]
        assert_cell(instant(value) if isinstance(value, datetime) else value, cell)


def assert_cell(value: Any, cell: str) -> None:
    if value is None:
        assert cell == ""
    elif isinstance(value, str):
        assert cell == (f"'{value}" if value[:1] in tuple("=+-@\t\r") else value)
    else:
        assert json.loads(cell) == value


@pytest.mark.parametrize("one_instant_each", [False, True])
def test_ids_that_look_like_defused_formulas_are_in_order(tmp_path: Path, one_instant_each: bool) -> None:
    ids = ["\t", "\r", "'", "'+1", "'=x", "'=x1", "'@", "+1", "-", "=x", "@", "A"]
    ids += [f"{first}{rest}" for first in "'+-=@" for rest in ("'", "'=", "=", "+", "-1")]
    rows = [
        made.row(number, eventId=id, timestamp=at(12) + timedelta(seconds=number * one_instant_each))
        for number, id in enumerate(sorted(set(ids)))
    ]
    lines = content(tmp_path, rows, "events", "csv")
    checked("events", "csv", lines.partition(b"\n")[2], len(rows))
