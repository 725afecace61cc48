"""A request is refused with the field, the value and what would be right."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from export_pipeline.errors import InvalidRequest, OutsideRetention
from export_pipeline.exports import ExportRequest, Filters, parse_request
from export_pipeline.settings import Settings

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
RANGE = {"startDate": "2026-11-01", "endDate": "2026-11-20"}


def parsed(settings: Settings, **values: Any) -> ExportRequest:
    return parse_request({**RANGE, **values}, now=NOW, settings=settings)


def test_a_range_alone_asks_for_all_engagement_events_as_compressed_jsonl(settings: Settings) -> None:
    assert parsed(settings) == ExportRequest(
        date(2026, 11, 1), date(2026, 11, 20), ("events",), "jsonl", "gzip", Filters()
    )


def test_every_field_can_be_given(settings: Settings) -> None:
    filters = {"contentIds": ["v"], "userIds": ["u", "w"], "eventTypes": ["click", "error"]}
    request = parsed(
        settings, dataTypes=["ads", "quality"], format="csv", compression="none", filters=filters
    )
    assert request.data_types == ("ads", "quality")
    assert (request.format, request.compression) == ("csv", "none")
    assert request.filters == Filters(("v",), ("u", "w"), ("click", "error"))


def test_thirty_one_days_are_the_most(settings: Settings) -> None:
    assert parsed(settings, startDate="2026-10-21").start == date(2026, 10, 21)
    with pytest.raises(InvalidRequest, match="at most 30 days after it, 2026-11-19"):
        parsed(settings, startDate="2026-10-20")


@pytest.mark.parametrize(
    ("values", "field", "says"),
    [
        ({"startDate": "2026-11-1"}, "startDate", "startDate is '2026-11-1'; it must be a calendar day"),
        ({"startDate": "2026-02-30"}, "startDate", "startDate is '2026-02-30'; it must be a calendar day"),
        ({"endDate": 20261120}, "endDate", "endDate is 20261120; it must be a calendar day"),
        ({"endDate": None}, "endDate", "endDate is None"),
        ({"endDate": "2026-10-31"}, "endDate", "before startDate 2026-11-01"),
        ({"endDate": "2026-11-22"}, "endDate", "must not be after today, 2026-11-21"),
        ({"dataTypes": []}, "dataTypes", "dataTypes is an empty list"),
        ({"dataTypes": "events"}, "dataTypes", "dataTypes is a string; it must be a list"),
        ({"dataTypes": ["event"]}, "dataTypes", "is 'event'; it must be one of events, quality, ads"),
        ({"dataTypes": ["ads", "ads"]}, "dataTypes", "dataTypes[1] repeats a value"),
        ({"dataTypes": [1]}, "dataTypes", "dataTypes[0] is a number; it must be a non-empty string"),
        ({"format": "json"}, "format", "format is 'json'; it must be one of jsonl, csv"),
        ({"format": None}, "format", "format is null"),
        ({"compression": "zip"}, "compression", "compression is 'zip'; it must be one of gzip, none"),
        ({"filters": []}, "filters", "filters is a list; it must be an object with any of contentIds"),
        ({"filters": {"user": ["u"]}}, "filters.user", "filters.user is not a field; the fields are"),
        ({"filters": {"contentIds": []}}, "filters.contentIds", "filters.contentIds is an empty list"),
        (
            {"filters": {"contentIds": [""]}},
            "filters.contentIds",
            "[0] is an empty string; it must be a non-empty",
        ),
        ({"filters": {"contentIds": ["\ud800"]}}, "filters.contentIds", "half a surrogate pair"),
        ({"filters": {"eventTypes": ["click"]}}, "filters.eventTypes", "'click'; for dataTypes events it"),
        ({"filters": {"userIds": "u"}}, "filters.userIds", "filters.userIds is a string; it must be a list"),
        ({"limit": 5}, "limit", "limit is not a field; the fields are startDate, endDate, dataTypes"),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_what_would_be_right(
    settings: Settings, values: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(settings, **values)
    assert refused.value.field == field
    assert says in refused.value.message


@pytest.mark.parametrize("missing", RANGE)
def test_the_range_must_be_given(settings: Settings, missing: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{missing} is missing"):
        parse_request({k: v for k, v in RANGE.items() if k != missing}, now=NOW, settings=settings)


def test_a_range_outside_retention_is_refused_as_such(settings: Settings) -> None:
    with pytest.raises(OutsideRetention, match="the first day that can be exported is 2026-08-23"):
        parsed(settings, startDate="2026-08-22", endDate="2026-08-22")


@pytest.mark.parametrize("users", [["user_1", "user_1"], ["user_1", 5], ["user_1", ""], {"user_1": 1}])
def test_no_message_and_no_representation_shows_a_user_id(settings: Settings, users: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(settings, filters={"userIds": users})
    assert "user_1" not in str(refused.value)
    assert "user_1" not in repr(parsed(settings, filters={"userIds": ["user_1"]}))
