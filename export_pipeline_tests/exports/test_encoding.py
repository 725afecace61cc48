"""Lines written byte by byte are what SQL and the standard library make of the same values."""

import json
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports import cells
from export_pipeline.exports.encoding import Rows, _Cells, contents, in_their_order
from export_pipeline.exports.evaluating import evaluated
from export_pipeline.exports.request import Format
from export_pipeline_tests.rows import row, table

ALONE = duckdb.connect(config={"threads": 1})
CLOSED = duckdb.connect()
CLOSED.close()
FIELDS = DATA_TYPES["events"].data_fields
NO_CELLS = "," * (len(FIELDS) + 2)
NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)
TEXTS = st.text(max_size=20) | st.sampled_from(
    ["=1", "a,b", "", "-", "x\ty", 'say "hi"', "a\\b", "12345678,"]
)
QUOTED = TEXTS.map(lambda text: json.dumps(text, ensure_ascii=False))
SCALARS = st.one_of(
    NUMBERS,
    QUOTED,
    st.sampled_from(
        ["null", "true", "false", "0.0", "-0", "-0.0", "1.50", '"\\/"', '"\\u00e9\\n"', '"\\t=1"']
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: f"[{','.join(values)}]"),
        st.dictionaries(QUOTED, inner, max_size=3).map(
            lambda values: "{" + ",".join(f"{name}:{value}" for name, value in values.items()) + "}"
        ),
    ),
    max_leaves=6,
)
OTHERS = st.sampled_from(["other", "posi", "größe", "", 'say "hi"', "position\n"]) | st.text(max_size=8)


def lines(format: Format, rows: Sequence[dict[str, Any]], connection: duckdb.DuckDBPyConnection) -> bytes:
    return b"".join(contents("events", format, in_their_order([table(rows, "events")]), connection))


@given(
    st.lists(
        st.dictionaries(st.sampled_from(FIELDS) | OTHERS, VALUES, max_size=5),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=150, deadline=None)
def test_cells_are_those_that_sql_makes(objects: list[dict[str, str]]) -> None:
    assert_cells_of_sql(
        [
            "{"
            + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{value}" for name, value in each.items())
            + "}"
            for each in objects
        ]
    )


def nested(depth: int) -> str:
    return '{"value":' + "[" * depth + "]" * depth + "}"


def others(count: int) -> str:
    return "{" + ",".join(f'"{chr(ord("a") + n)}":{n}' for n in range(count)) + "}"


def named(value: str) -> str:
    return "{" + ",".join(f'"{name}":{value}' for name in FIELDS) + "}"


@pytest.mark.parametrize(
    "text",
    [
        *('{"value":"\\t=1"}', '{"value":"\\r"}', '{"value":"\\n=1"}', '{"value":"\\"=1"}'),
        *(others(count) for count in (1, 15, 16, 17, 20)),
        *(nested(depth) for depth in (1, 59, 60, 61, 70)),
        *(named('"=,"'), named('["\\""]'), named('""'), named("null")),
        '{"value":"' + '\\"' * 5_000 + '"}',
        '{"":0,"value":{"":[{},[],""]},"position":-1}',
        "{" + ",".join(f'"{chr(ord("a") + n)}":"\\""' for n in range(16)) + ',"value":"=\\""}',
    ],
)
def test_cells_at_the_limits_are_those_that_sql_makes(text: str) -> None:
    # Between others, whose cells would show what was written too far.
    assert_cells_of_sql(['{"value":"before"}', text, '{"value":"after"}'])


@pytest.mark.parametrize(
    "text", [named('"=,"'), named('["\\""]'), '{"a":"' + '\\"' * 99 + '"}', others(16), "{}"]
)
def test_cells_stay_within_the_memory_for_them(text: str) -> None:
    made = _Cells(DATA_TYPES["events"], pa.array([text]))
    assert made.simple.all()
    assert made._ends.max() <= len(made._memory)


@pytest.mark.parametrize("text", ['{"value":1,"value":2}', '{"a":1,"b":2,"a":3}', '{"value":'])
def test_what_has_a_key_twice_or_no_end_is_left_to_sql(text: str) -> None:
    with pytest.raises(duckdb.Error):
        lines("csv", [row(1, data=text)], CLOSED)


def assert_cells_of_sql(texts: Sequence[str]) -> None:
    expected = evaluated(ALONE, cells.of_data(DATA_TYPES["events"]), data=pa.array(texts)).to_pylist()
    before, after = lines("csv", [row(1, data="{}", deviceId="d")], ALONE).decode().split(NO_CELLS)
    found = lines("csv", [row(1, data=text, deviceId="d") for text in texts], ALONE).decode()
    assert found == "".join(f"{before},{text},{after}" for text in expected)


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_usual_rows_need_no_sql(format: Format) -> None:
    usual = [
        '{"currentTime":5.93,"duration":52.04,"percentComplete":11.4,"rendition":"240p","bitrate":312}',
        '{"position":0,"entryPoint":"feed","feedId":null}',
        '{"looped":true,"loopCount":-3,"watchTime":0.001}',
        '{"interactionType":"Zürich, CH","value":"=1"}',
        '{"value":"tab\\t\\"two\\"","other":{"a":[1,null,{"b":"c"}]},"more":null}',
        "{}",
    ]
    assert lines(format, [row(n, data=data) for n, data in enumerate(usual)], CLOSED).count(b"\n") == len(
        usual
    )


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_a_line_longer_than_the_memory_for_it_is_written_whole(format: Format) -> None:
    text = "\n,\x01" * 1_000_000
    rows = [row(n, userId=text, data=json.dumps({"feedId": text}, separators=(",", ":"))) for n in range(3)]
    content = lines(format, rows, ALONE)
    if format == "jsonl":
        found = [json.loads(line) for line in content.splitlines()]
        assert [(line["userId"], line["data"]["feedId"]) for line in found] == [(text, text)] * 3
    else:
        assert content.count(f'"{text}"'.encode()) == 2 * 3


def test_rows_of_several_tables_are_written_in_their_order() -> None:
    rows = [row(n, country=None if n % 3 else "FR", userId=f'"{n}"') for n in range(30)]
    tables = [table(rows[:7], "events"), table(rows[7:8], "events"), table(rows[8:], "events").slice(2)]
    tables[2] = pa.table(
        {
            name: _encoded(column)
            for name, column in zip(tables[2].column_names, tables[2].columns, strict=True)
        }
    )
    kept = rows[:8] + rows[10:]
    order = np.random.default_rng(1).permutation(len(kept))
    us = np.zeros(len(kept), np.int64)
    found = b"".join(contents("events", "jsonl", Rows(tables, order, us), ALONE)).splitlines()
    expected = [(kept[place]["userId"], kept[place]["country"]) for place in order]
    assert [(line["userId"], line["country"]) for line in map(json.loads, found)] == expected


def _encoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.dictionary_encode() if pa.types.is_string(column.type) else column
