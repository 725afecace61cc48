"""The quick look at rows calls right only what a parser finds right, and finds the same in it."""

import csv
import io
import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.proving import prove_cells, prove_lines, rise
from export_pipeline.exports.rows import check
from export_pipeline_tests.rows import row


def line(n: int, data_type: str = "events", **changes: Any) -> bytes:
    stored = row(n, data_type) | changes
    values = {f.name: stored.get(f.name) for f in DATA_TYPES[data_type].incoming_fields}
    for name in ("timestamp", "receivedAt"):
        moment = values[name]
        if isinstance(moment, datetime):
            values[name] = moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{n % 999 + 1:03d}Z"
    values["data"] = json.loads(stored["data"])
    return (json.dumps(values | {"dataType": data_type}, separators=(",", ":")) + "\n").encode()


def proven(content: bytes, data_type: str = "events") -> list[bool]:
    found: list[bool] = prove_lines(DATA_TYPES[data_type], content).rows.tolist()
    return found


@pytest.mark.parametrize("data_type", DATA_TYPES)
@pytest.mark.parametrize(
    "data",
    [
        "{}",
        '{"a":1}',
        '{"a":{"b":[1,null],"c":"x"},"d":[true,"\\"\\u00e9"]}',
        '{"x":-0.5e+3,"userId":"\\":"}',
        '{"a":[[[1]],{}],"b":{"c":{"d":[]}}}',
        '{"a":"\\ud83d\\ude00"}',
    ],
)
def test_usual_lines_need_no_parser(data_type: str, data: str) -> None:
    content = b"".join(line(n, data_type, data=data) for n in range(20))
    assert proven(content, data_type) == [True] * 20
    assert check(data_type, "jsonl", content).problems == []


@pytest.mark.parametrize("count", [20, 1000])
def test_the_wrong_one_among_nested_data_is_found_in_its_line(count: int) -> None:
    whole = b"".join(line(n, data=f'{{"a":{{"b":[1,{n}]}}}}') for n in range(count))
    content = whole.replace(b"[1,7]", b"[1,]")
    assert proven(content) == [n != 7 for n in range(count)]
    assert check("events", "jsonl", content).problems[0].row == 8


@pytest.mark.parametrize(
    "unusual", [{"eventId": 'a"b'}, {"data": '{"a":' + "[" * 70 + "]" * 70 + "}"}], ids=["id", "deep"]
)
def test_an_unusual_line_is_left_to_the_parser_and_found_right(unusual: dict[str, str]) -> None:
    content = b"".join(line(n, **(unusual if n == 7 else {})) for n in range(20))
    assert proven(content) == [n != 7 for n in range(20)]
    found = check("events", "jsonl", content)
    assert (found.rows, found.problems) == (20, [])


@pytest.mark.parametrize("name", ["2024-02-29", "1999-12-31", "0001-01-01", "2100-02-28"])
@pytest.mark.parametrize("clock", ["00:00:00Z", "23:59:59.999Z", "12:34:56.001Z"])
def test_instants_are_those_that_are_written(name: str, clock: str) -> None:
    text = f"{name}T{clock}"
    content = line(1, timestamp=text, eventId="abc")
    found = prove_lines(DATA_TYPES["events"], content)
    expected = datetime.fromisoformat(text.replace("Z", "+00:00")) - datetime(1970, 1, 1, tzinfo=UTC)
    assert found.rows.all()
    assert found.us[0] == expected.days * 86_400_000_000 + expected.seconds * 10**6 + expected.microseconds
    assert content[found.ids[0] : found.id_ends[0]] == b"abc"


@pytest.mark.parametrize(
    "text",
    [
        "2023-02-29T12:00:00Z",
        "2100-02-29T12:00:00Z",
        "2026-13-01T12:00:00Z",
        "2026-00-10T12:00:00Z",
        "2026-04-31T12:00:00Z",
        "2026-01-00T12:00:00Z",
        "2026-11-20T24:00:00Z",
        "2026-11-20T12:60:00Z",
        "2026-11-20T12:00:60Z",
        "2026-11-20 12:00:00Z",
        "2026-11-20T12:00:00.000Z",
        "2026-11-20T12:00:00.12Z",
        "2026-11-20T12:00:00",
        "2026-11-20T12:00:00z",
        "2026/11-20T12:00:00Z",
        "2026-11-2:T12:00:00Z",
    ],
)
def test_what_is_no_instant_of_the_contract_is_a_problem(text: str) -> None:
    content = line(0) + line(1, timestamp=text) + line(2)
    assert proven(content) == [True, False, True]
    assert check("events", "jsonl", content).problems[0].row == 2


def test_rows_of_several_days_keep_their_days() -> None:
    days = [f"2026-{month:02d}-01T00:00:00Z" for month in range(1, 13)]
    content = b"".join(line(n, timestamp=day) for n, day in enumerate(days))
    found = check("events", "jsonl", content)
    assert (found.problems, [str(day) for day in found.days]) == ([], [day[:10] for day in days])


def damaged_rows(whole: bytes) -> st.SearchStrategy[bytes]:
    """``whole`` with a few bytes changed, added or left out, still UTF-8 that ends with a newline."""

    def changed(at: int, change: bytes, cut: int) -> bytes:
        return whole[:at] + change + whole[at + cut :]

    def is_text(content: bytes) -> bool:
        try:
            return content.decode().endswith("\n")
        except UnicodeDecodeError:
            return False

    places = st.integers(0, len(whole) - 1)
    return st.builds(changed, places, st.binary(max_size=3), st.integers(0, 3)).filter(is_text)


@given(damaged=damaged_rows(line(1, data='{"a":{"b":1},"c":"x\\"y"}')))
@settings(max_examples=300, deadline=None)
def test_no_damaged_line_is_called_right(damaged: bytes) -> None:
    kind = DATA_TYPES["events"]
    found = prove_lines(kind, damaged)
    assert [*found.ends] == [at + 1 for at, octet in enumerate(damaged) if octet == ord("\n")]
    begins = [0, *found.ends[:-1].tolist()]
    for right, us, begin, end in zip(found.rows, found.us, begins, found.ends.tolist(), strict=True):
        if right:
            values = json.loads(damaged[begin:end])
            assert list(values) == [f.name for f in kind.row_fields]
            assert values["event"] in kind.event
            moment = datetime.fromisoformat(values["timestamp"].replace("Z", "+00:00"))
            assert int(us) == round(moment.timestamp() * 1000) * 1000


def cells(n: int, data_type: str = "events", **changes: str) -> bytes:
    """A row of CSV, quoted where it must be."""
    known = {
        "event": next(iter(DATA_TYPES[data_type].event)),
        "userId": f"user_{n}",
        "deviceType": "web",
        "timestamp": f"2026-11-20T12:00:00.{n % 999 + 1:03d}Z",
        "receivedAt": "2026-11-20T12:00:01Z",
        "eventId": f"evt_{n:04d}",
        "dataType": data_type,
    }
    known |= changes
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(known.get(c, "") for c in DATA_TYPES[data_type].csv_columns)
    return out.getvalue().encode()


@pytest.mark.parametrize("data_type", DATA_TYPES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"contentId": 'a, "b"\nc'},
        {"userId": "'=1+1"},
        {"data.extra": '{"x":"y"}'},
        {"country": "DE", "sessionId": "\u00e9"},
    ],
)
def test_usual_rows_of_csv_need_no_parser(data_type: str, changes: dict[str, str]) -> None:
    content = b"".join(cells(n, data_type, **changes) for n in range(20))
    found = prove_cells(DATA_TYPES[data_type], content)
    assert found is not None
    ids = [content[begin:end] for begin, end in zip(found.ids, found.id_ends, strict=True)]
    assert ids == [b"evt_%04d" % n for n in range(20)]
    assert (np.diff(found.us) == 1000).all()
    checked = check(data_type, "csv", content)
    assert (checked.rows, checked.problems) == (20, [])


@pytest.mark.parametrize(
    "changes",
    [
        {"userId": ""},
        {"userId": "=1"},
        {"event": "nothing"},
        {"timestamp": "2026-11-31T12:00:00Z"},
        {"deviceType": "tv"},
        {"dataType": "ads"},
        {"data.extra": "x"},
        {"data.extra": "[1]"},
        {"data.rendition": "@x"},
        {"data.position": "-x"},
        {"receivedAt": ""},
        {"eventId": ""},
    ],
)
def test_what_is_no_row_of_the_contract_is_a_problem_of_its_row(changes: dict[str, str]) -> None:
    content = cells(0) + cells(1, **changes) + cells(2)
    assert prove_cells(DATA_TYPES["events"], content) is None
    assert check("events", "csv", content).problems[0].row == 2


@given(damaged=damaged_rows(cells(1, contentId='a "b", c', **{"data.extra": '{"x":1}'}) + cells(2)))
@settings(max_examples=300, deadline=None)
def test_damaged_rows_of_csv_are_proven_only_if_the_parser_finds_the_same(damaged: bytes) -> None:
    kind = DATA_TYPES["events"]
    found = prove_cells(kind, damaged)
    if found is None:
        return
    rows = list(csv.DictReader(io.StringIO(damaged.decode(), newline=""), kind.csv_columns, strict=True))
    assert [values["eventId"].encode() for values in rows] == [
        damaged[begin:end] for begin, end in zip(found.ids, found.id_ends, strict=True)
    ]
    for values, us in zip(rows, found.us.tolist(), strict=True):
        assert values["event"] in kind.event
        moment = datetime.fromisoformat(values["timestamp"].replace("Z", "+00:00"))
        assert us == round(moment.timestamp() * 1000) * 1000


def test_dates_are_read_anew_where_they_change() -> None:
    texts = [
        "2026-11-20T23:59:59.999Z",
        "2026-11-21T00:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-11-31T00:00:00Z",
        "2026-11-21T00:60:00Z",
        "2026-11-21T00:00:0:Z",
        "2026-11-21T00-00:00Z",
        "2026-11-20T00:00:00Z",
    ]
    content = b"".join(line(n, timestamp=text, receivedAt=texts[1]) for n, text in enumerate(texts))
    found = prove_lines(DATA_TYPES["events"], content)
    assert found.rows.tolist() == [True, True, False, False, False, False, False, True]
    moments = [datetime.fromisoformat(texts[n]) for n in (0, 1, 7)]
    assert found.us[[0, 1, 7]].tolist() == [round(moment.timestamp() * 1_000_000) for moment in moments]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.text("ab=é'-", min_size=1, max_size=4)), min_size=1, max_size=8),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_rows_rise_if_each_is_after_the_one_before_it(
    keys: list[tuple[int, str]], are_in_order: bool
) -> None:
    keys = sorted(set(keys), key=lambda key: (key[0], key[1].encode())) if are_in_order else keys
    content = b"".join(
        line(n, timestamp=f"2026-11-20T12:00:00.{second + 1:03d}Z", eventId=id)
        for n, (second, id) in enumerate(keys)
    ).replace(b"\\u00e9", "é".encode())
    found = prove_lines(DATA_TYPES["events"], content)
    written = [(second, id.encode()) for second, id in keys]
    pairs = list(pairwise(written))
    assert rise(content, found) == all(before < after for before, after in pairs)
    surely = all(
        before < after and (before[0] < after[0] or b"'" not in (before[1][:1], after[1][:1]))
        for before, after in pairs
    )
    assert rise(content, found, unsure="'") == surely
    assert bool(check("events", "jsonl", content).problems) != rise(content, found)


@pytest.mark.parametrize(
    "number", ["0", "7", "-7", "1.5", "0.5", "12345678", "1234567.25", "1e5", "1.5E-3", "123.456789012", "10"]
)
@pytest.mark.parametrize("after", ["", "0", ".", "e", "-", "x", " "])
def test_a_number_is_right_if_json_says_so(number: str, after: str) -> None:
    text = number + after
    try:
        json.loads(text)
        is_right = " " not in text
    except ValueError:
        is_right = False
    assert proven(line(1, data='{"a":1}').replace(b'{"a":1}', f'{{"a":{text},"b":1}}'.encode())) == [is_right]
