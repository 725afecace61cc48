"""Lines as common programs write them are known by their form; what is not JSON never is."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from export_pipeline.ingest.plain import NO_FORM, PlainForms
from export_pipeline.ingest.targets import validation_of
from export_pipeline_tests.ingest.landed import NOW

Mark = Callable[[Sequence[str]], list[int]]

LINE = {
    "event": "watchProgress",
    "contentId": "v1",
    "userId": "u",
    "timestamp": "2026-02-04T12:00:00Z",
    "deviceType": "web",
    "data": {"currentTime": 1.5, "rendition": None, "bitrate": 900},
    "eventId": "e",
}


def compact(line: dict[str, Any]) -> str:
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False)


@pytest.fixture
def mark() -> Mark:
    plain = validation_of("events", NOW, 90).plain
    assert plain
    forms = PlainForms(duckdb.connect(), plain)
    return lambda lines: forms.mark(pa.chunked_array([[line + "\n" for line in lines]])).to_pylist()


@pytest.mark.parametrize("written", [compact, json.dumps])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"contentId": None},
        {"userId": '\u00e9 "quoted" \\'},
        {"timestamp": datetime(2026, 2, 4, 12, 0, 0, 123456, UTC).isoformat()},
        {"data": {}},
        {"data": {"rendition": "\u4e2d", "more": 1e20}},
    ],
)
def test_a_line_of_a_common_writer_has_a_known_form(
    mark: Mark, written: Callable[[dict[str, Any]], str], change: dict[str, Any]
) -> None:
    assert mark([written({**LINE, **change})] * 3) == [0, 0, 0]


def test_unknown_keys_are_counted_whatever_they_hold(mark: Mark) -> None:
    lines = [compact({**LINE, "a": 1, "b": other}) for other in ("x", None, [1, "y"], {"k": 1.5, "l": []})]
    assert mark(lines) == [2, 2, 2, NO_FORM]


def test_a_form_that_comes_later_is_learned_and_the_first_one_kept(mark: Mark) -> None:
    other = {**LINE, "sessionId": "s"}
    assert mark([compact(LINE)] * 100) == [0] * 100
    assert mark([compact(other)] * 100) == [0] * 100
    assert mark([compact(LINE), compact(other)]) == [0, 0]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"e"}', '"e",}'),
        ("1.5", "01.5"),
        ("1.5", "NaN"),
        ("1.5", "1e400"),
        ('"u"', '"\\ud800"'),
        ('"u"', '"\\u0000"'),
        ('"u"', '"\t"'),
        ('"u"', "5"),
        ('"u"', '""'),
        ('"web"', '"tv"'),
        ("900", '"900"'),
        ('"bitrate"', '"currentTime"'),
        ('"eventId"', '"userId"'),
        ("}", "} "),
    ],
)
def test_a_line_that_could_be_rejected_for_its_form_has_no_known_form(
    mark: Mark, right: str, wrong: str
) -> None:
    line = compact(LINE)
    assert right in line
    assert mark([line] * 100 + [line.replace(right, wrong, 1)]) == [0] * 100 + [NO_FORM]


@pytest.mark.parametrize(("keys", "length"), [(20, 5), (20, 2000), (3000, 5)])
def test_lines_of_very_many_forms_are_no_failure(mark: Mark, keys: int, length: int) -> None:
    names = [[f"{n}_{key}".ljust(length, "x") for key in range(keys)] for n in range(60)]
    odd = [{**LINE, "data": dict.fromkeys(each, 1)} for each in names]
    known = mark([compact(LINE)] * 100 + [compact(line) for line in odd])
    assert known[:100] in ([0] * 100, [NO_FORM] * 100)
    assert set(known[100:]) <= {0, NO_FORM}
