"""The JSON Schema and the data dictionary that go with an export."""

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.events.schema import dictionary, json_schema

NAMES = list(DATA_TYPES)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


VALIDATORS = {name: validator(name) for name in NAMES}


def row(name: str, **changes: Any) -> dict[str, Any]:
    values = {
        "event": DATA_TYPES[name].events[0].name,
        "contentId": "vid_1",
        "userId": "user_00000001",
        "timestamp": "2026-02-03T04:05:06.789Z",
        "sessionId": None,
        "deviceType": "web",
        "currentTime": 1.5,
        "data": {},
        "deviceId": None,
        "country": None,
        "eventId": "evt_1",
        "receivedAt": "2026-02-03T04:05:07Z",
        "dataType": name,
    } | changes
    if name != "quality":
        values.pop("currentTime")
    return values


@pytest.mark.parametrize("name", NAMES)
def test_accepts_a_row_of_every_event(name: str) -> None:
    for event in DATA_TYPES[name].events:
        VALIDATORS[name].validate(row(name, event=event.name))


@given(name=st.sampled_from(NAMES), values=st.data())
def test_accepts_data_of_any_type_and_unknown_keys_because_they_are_kept_as_received(
    name: str, values: st.DataObject
) -> None:
    keys = st.sampled_from(DATA_TYPES[name].data_fields) | st.text(max_size=5)
    data = values.draw(st.dictionaries(keys, JSON_VALUES, max_size=5))
    VALIDATORS[name].validate(row(name, data=data))


@pytest.mark.parametrize("name", NAMES)
def test_refuses_a_row_without_one_of_its_keys(name: str) -> None:
    for key in row(name):
        shorter = row(name)
        del shorter[key]
        assert not VALIDATORS[name].is_valid(shorter), key


@pytest.mark.parametrize("name", NAMES)
def test_refuses_a_key_that_rows_do_not_have(name: str) -> None:
    assert not VALIDATORS[name].is_valid(row(name) | {"batchSequence": 1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("event", "click"),
        ("event", None),
        ("contentId", None),
        ("contentId", 5),
        ("userId", None),
        ("deviceType", "tv"),
        ("timestamp", "2026-02-03 04:05:06Z"),
        ("timestamp", "2026-02-03T04:05:06+00:00"),
        ("timestamp", "2026-02-03T04:05:06.78Z"),
        ("receivedAt", None),
        ("data", None),
        ("data", "{}"),
        ("eventId", None),
        ("dataType", "ads"),
        ("country", 49),
    ],
)
def test_refuses_a_value_that_no_row_has(key: str, value: object) -> None:
    assert not VALIDATORS["events"].is_valid(row("events", **{key: value}))


def test_content_may_be_null_where_the_event_allows_it() -> None:
    VALIDATORS["events"].validate(row("events", event="swipe", contentId=None))
    VALIDATORS["ads"].validate(row("ads", contentId=None))


def test_current_time_is_a_number_or_null_in_quality_rows() -> None:
    VALIDATORS["quality"].validate(row("quality", currentTime=None))
    assert not VALIDATORS["quality"].is_valid(row("quality", currentTime="1.5"))
    assert not VALIDATORS["events"].is_valid(row("events") | {"currentTime": 1.5})


@pytest.mark.parametrize("name", NAMES)
def test_tells_the_expected_type_of_every_data_field(name: str) -> None:
    described = json_schema(name)["properties"]["data"]["properties"]
    assert list(described) == list(DATA_TYPES[name].data_fields)
    for event in DATA_TYPES[name].events:
        for field in event.fields:
            told = described[field.name]
            assert field.description in told["description"]
            assert field.type in told["x-expectedType"]
            assert event.name in told["x-events"]
            assert set(field.values) <= set(told.get("x-expectedValues", ()))
            assert (field.unit or "") in told.get("x-unit", "")


@pytest.mark.parametrize("name", NAMES)
def test_dictionary_names_every_field_event_column_and_allowed_value(name: str) -> None:
    page = dictionary(name)
    data_type = DATA_TYPES[name]
    for column in data_type.csv_columns:
        assert f"| `{column}` |" in page
    for field in data_type.row_fields:
        assert f"| `{field.name}` |" in page
    for event in data_type.events:
        section = page.split(f"### {event.name}\n")[1].split("\n##")[0]
        assert event.description in section
        for field in event.fields:
            assert f"| `{field.name}` | {field.type} | {field.description}" in section
            assert all(f"`{value}`" in section for value in field.values)


def test_dictionary_tells_units_and_the_rules_of_reading() -> None:
    page = dictionary("events")
    for told in (
        "milliseconds",
        "kilobits a second",
        "Deduplicate",
        "prefixed with `'`",
        "RFC 4180",
        "`null`",
    ):
        assert told in page


@pytest.mark.parametrize("name", NAMES)
def test_dictionary_tables_are_well_formed(name: str) -> None:
    for block in dictionary(name).split("\n\n"):
        if block.startswith("|"):
            assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1
