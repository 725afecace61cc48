"""What is asked of a line, one rule at a time, and what a stored row looks like."""

import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from export_pipeline import secrets
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.ingest.landed import (
    ABSENT,
    NOW,
    event_ids,
    kept,
    land,
    line,
    lines,
    reasons,
    stored,
)

Take = Callable[..., Counts]
DEEP = "[" * 1000 + "]" * 1000


@pytest.fixture
def take(settings: Settings, store: Store, ledger: Ledger) -> Take:
    def run(text: str, target: str = "events", now: datetime = NOW) -> Counts:
        land(settings, "a.jsonl", text, target)
        return ingest_landing(settings, store, ledger, now=now).counts[target]

    return run


def with_data(data: str) -> str:
    return line(eventId="e", data=None).replace('"data": null', f'"data": {data}')


REJECTED = {
    "no JSON": ("{", "not_json", None),
    "a NaN": (with_data('{"x":NaN}'), "not_json", None),
    "an infinity": (with_data('{"x":[-Infinity]}'), "not_json", None),
    "a trailing comma": (with_data('{"x":1,}'), "not_json", None),
    "a lone surrogate": (with_data('{"x":"\\ud800"}'), "not_json", None),
    "an array": ("[1]", "not_object", None),
    "a scalar": ("null", "not_object", None),
    "a key twice": (line()[:-1] + ',"event":"save"}', "duplicate_key", None),
    "a key twice in data": (with_data('{"x":1,"x":2}'), "duplicate_key", None),
    "a key twice deep in data": (with_data('{"x":[{"y":1,"y":2}]}'), "duplicate_key", None),
    "nesting 1,000 deep": (with_data(f'{{"x":{DEEP}}}'), "too_deep", None),
    "a number no double holds": (with_data('{"x":[1E400]}'), "number_too_big", None),
    "a long number no double holds": (with_data(f'{{"x":{"1" * 400}.5}}'), "number_too_big", None),
    "no event": (line(event=ABSENT), "missing_field", "event"),
    "an unknown event": (line(event="rebuffer"), "unknown_event", "event"),
    "no user": (line(userId=None), "missing_field", "userId"),
    "an empty user": (line(userId=""), "missing_field", "userId"),
    "a user that is a number": (line(userId=5), "wrong_type", "userId"),
    "no device type": (line(deviceType=ABSENT), "missing_field", "deviceType"),
    "an unknown device type": (line(deviceType="tv"), "wrong_value", "deviceType"),
    "no content where it is needed": (line(contentId=ABSENT), "missing_field", "contentId"),
    "a session that is a number": (line(sessionId=5), "wrong_type", "sessionId"),
    "data that is no object": (line(data=[1]), "wrong_type", "data"),
    "an event id that is a number": (line(eventId=5), "wrong_type", "eventId"),
    "a timestamp that is a number": (line(timestamp=1770206400), "wrong_type", "timestamp"),
    "a timestamp without zone": (line(timestamp="2026-02-04T10:00:00"), "no_zone", "timestamp"),
    "a timestamp that does not exist": (line(timestamp="2026-02-30T10:00:00Z"), "bad_timestamp", "timestamp"),
    "a leap second": (line(timestamp="2026-02-04T23:59:60Z"), "bad_timestamp", "timestamp"),
    "a receivedAt that does not parse": (line(receivedAt="now"), "bad_timestamp", "receivedAt"),
    "a timestamp before 1970": (line(timestamp="1969-12-31T23:59:59.999Z"), "too_late", "timestamp"),
    "a day older than retention": (line(timestamp="2025-11-05T23:59:59Z"), "too_late", "timestamp"),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> tuple[Counts, dict[str, dict[str, Any]]]:
    """All of these lines taken as one file, between two that are accepted: counts, and rows by line."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    land(
        settings, "a.jsonl", lines(1) + "\n".join(text for text, _, _ in REJECTED.values()) + "\n" + lines(2)
    )
    report = ingest_landing(settings, Store(settings), Ledger(settings), now=NOW)
    return report.counts["events"], {row["raw"].decode(): row for row in kept(settings)}


def test_a_bad_line_never_stops_a_batch(refused: tuple[Counts, dict[str, Any]]) -> None:
    assert refused[0] == Counts(received=len(REJECTED) + 2, accepted=2, rejected=len(REJECTED))


@pytest.mark.parametrize("what", REJECTED)
def test_rejected(refused: tuple[Counts, dict[str, Any]], what: str) -> None:
    text, reason, field = REJECTED[what]
    row = refused[1][text]
    assert (row["reason"], row["field"]) == (reason, field)
    assert row["detail"]


@pytest.mark.parametrize(
    "event", [event.name for event in DATA_TYPES["events"].events if not event.needs_content]
)
def test_content_may_be_absent_where_the_catalogue_says_so(take: Take, event: str) -> None:
    assert take(line(event=event, contentId=None)).accepted == 1


def test_what_is_absent_is_filled_in(take: Take, store: Store) -> None:
    take(line(timestamp=ABSENT, receivedAt=ABSENT, data=ABSENT, eventId=""))
    row = stored(store)[0]
    noted = NOW.replace(microsecond=123_000)
    assert (row["timestamp"], row["receivedAt"], row["data"]) == (noted, noted, "{}")
    assert row["eventId"].startswith("evt_")
    assert len(row["eventId"]) == 36


def test_an_absent_timestamp_is_the_instant_of_receipt(take: Take, store: Store) -> None:
    take(line(timestamp=ABSENT))
    assert stored(store)[0]["timestamp"] == datetime(2026, 2, 4, 10, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-02-04T10:00:00.9999Z", datetime(2026, 2, 4, 10, 0, 0, 999_000, UTC)),
        ("2026-02-04t10:00:00z", datetime(2026, 2, 4, 10, tzinfo=UTC)),
        ("2026-02-04 00:30:00.5+02:00", datetime(2026, 2, 3, 22, 30, 0, 500_000, UTC)),
        ("2026-02-03T23:00:00-05:30", datetime(2026, 2, 4, 4, 30, tzinfo=UTC)),
    ],
)
def test_instants_of_any_zone_are_stored_in_utc_cut_to_milliseconds(
    take: Take, store: Store, text: str, instant: datetime
) -> None:
    take(line(timestamp=text))
    assert stored(store)[0]["timestamp"] == instant


@pytest.mark.parametrize("text", ["2026-02-04T10:05:01.001Z", "9999-12-31T23:59:59-14:00"])
def test_a_timestamp_long_after_its_receipt_is_set_to_the_receipt(
    take: Take, store: Store, text: str
) -> None:
    assert take(line(timestamp=text)).clamped == 1
    assert stored(store)[0]["timestamp"] == datetime(2026, 2, 4, 10, 0, 1, tzinfo=UTC)


def test_a_timestamp_five_minutes_after_its_receipt_is_kept(take: Take, store: Store) -> None:
    assert take(line(timestamp="2026-02-04T10:05:01Z")).clamped == 0
    assert stored(store)[0]["timestamp"] == datetime(2026, 2, 4, 10, 5, 1, tzinfo=UTC)


def test_a_receipt_that_cannot_be_true_is_the_instant_of_taking(take: Take, store: Store) -> None:
    take(line(timestamp="9999-01-01T00:00:00Z", receivedAt="9999-01-01T00:00:00Z"))
    assert stored(store)[0]["timestamp"] == NOW.replace(microsecond=123_000)


@pytest.mark.parametrize(
    "data",
    [
        '{"x":12345678901234567890123,"y":-9223372036854775809,"z":18446744073709551616}',
        '{"x":0.1,"y":1e-300,"z":"\\u0000 \\" \\\\ \\n é 😀"}',
        '{"x":"NaN,]","y":{"a":[{},[],null]},"":1}',
    ],
)
def test_data_is_stored_as_it_came(take: Take, store: Store, data: str) -> None:
    take(with_data(data))
    assert stored(store)[0]["data"] == data


def test_unknown_keys_are_dropped_and_counted_and_values_of_another_type_kept(
    take: Take, store: Store
) -> None:
    play = line(
        event="playStart", data={"startupTime": "12", "autoplay": 1, "codec": None, "mine": 3}, a=1, b=[2]
    )
    assert take(play) == Counts(received=1, accepted=1, unknown_keys=2, drift=2)
    assert stored(store)[0]["data"] == '{"startupTime":"12","autoplay":1,"codec":null,"mine":3}'


def test_an_integer_is_a_number_and_a_fraction_is_no_integer(take: Take) -> None:
    data = '{"currentTime":3,"bitrate":2500,"duration":61.5}'
    progress = with_data(data).replace("like", "watchProgress")
    shown = with_data('{"position":1.5}').replace("like", "impression").replace('"e"', '"f"')
    assert take(progress + "\n" + shown).drift == 1


def test_our_own_rows_can_be_taken_in_again(take: Take) -> None:
    assert (
        take(line(dataType="events", eventId="a") + "\n" + line(dataType="ads", eventId="b")).unknown_keys
        == 1
    )


def test_playback_position_of_quality_events_is_lifted_out_of_data(take: Take, store: Store) -> None:
    def quality(number: int, data: dict[str, Any], **more: Any) -> str:
        return line(event="rebuffer", eventId=f"e{number}", data=data, **more)

    text = [
        quality(1, {"currentTime": 3.5, "n": None}),
        quality(2, {"currentTime": 3.5}, currentTime=7),
        quality(3, {"currentTime": "x"}),
        quality(4, {}),
    ]
    assert take("\n".join(text), "quality").accepted == 4
    assert [(row["currentTime"], row["data"]) for row in stored(store, "quality")] == [
        (3.5, '{"n":null}'),
        (7.0, '{"currentTime":3.5}'),
        (None, '{"currentTime":"x"}'),
        (None, "{}"),
    ]


def test_a_playback_position_that_is_no_number_is_rejected(settings: Settings, take: Take) -> None:
    text = [line(event="rebuffer", currentTime=value) for value in ("5", True)]
    text.append(line(event="rebuffer", currentTime=0).replace(": 0", ": 1e999"))
    assert take("\n".join(text), "quality").rejected == 3
    assert reasons(settings) == ["wrong_type"] * 3


def test_the_first_of_two_lines_with_an_event_id_wins(settings: Settings, take: Take, store: Store) -> None:
    land(settings, "b.jsonl", line(eventId="e", userId="later file"))
    text = line(eventId="e", userId="") + "\n" + line(eventId="e", userId="first") + "\n" + line(eventId="e")
    assert take(text) == Counts(received=4, accepted=1, rejected=1, duplicate=2)
    assert [row["userId"] for row in stored(store)] == ["first"]


@pytest.mark.backends("s3")
def test_an_event_id_is_a_duplicate_on_any_day_that_the_batch_touches(take: Take, store: Store) -> None:
    yesterday, today = "2026-02-03T10:00:00Z", "2026-02-04T10:00:00Z"
    take(line(eventId="e", timestamp=yesterday))
    assert take(line(eventId="e", timestamp=today)).accepted == 1
    both = line(eventId="f", timestamp=yesterday) + "\n" + line(eventId="e", timestamp="2026-02-04T11:00:00Z")
    assert take(both) == Counts(received=2, accepted=1, duplicate=1)
    assert event_ids(store) == ["e", "e", "f"]


def test_the_same_event_id_in_two_data_types_is_two_events(take: Take) -> None:
    assert take(line(eventId="e")).accepted == 1
    assert take(line(eventId="e", event="click"), "ads").accepted == 1


def test_events_of_an_erased_person_up_to_the_erasure_are_suppressed(
    settings: Settings, take: Take, store: Store, ledger: Ledger
) -> None:
    at = datetime(2026, 2, 4, 9, tzinfo=UTC)
    key = secrets.key(settings, "suppression").hex()
    ledger.suppress_all([hashlib.sha256(f"{key}erased".encode()).hexdigest()], at)
    text = [
        line(userId="erased", eventId="before", timestamp="2026-02-04T08:59:59Z"),
        line(userId="erased", eventId="at", timestamp="2026-02-04T09:00:00Z"),
        line(userId="erased", eventId="after", timestamp="2026-02-04T09:00:00.001Z"),
        line(userId="other", eventId="before", timestamp="2026-02-04T08:59:59Z"),
    ]
    assert take("\n".join(text)) == Counts(received=4, accepted=2, suppressed=2)
    assert take("\n".join(text)) == Counts(received=4, duplicate=2, suppressed=2)
    assert event_ids(store) == ["after", "before"]
    profile = '{"userId":"erased","createdAt":"2026-02-01T00:00:00Z"}'
    assert take(profile, "users/profiles").suppressed == 1


def test_a_version_rises_with_the_rows_of_its_day_and_with_nothing_else(take: Take, ledger: Ledger) -> None:
    day = date(2026, 2, 4)
    take(lines(1, 2))
    take(lines(1, 2) + "{")
    assert ledger.read_days("events", day, day)[day].version == 1
    take(lines(3) + line(eventId="x", timestamp="2026-02-03T10:00:00Z"))
    days = ledger.read_days("events", day - timedelta(days=1), day)
    assert [(days[d].version, days[d].rows) for d in (day - timedelta(days=1), day)] == [(1, 1), (2, 3)]


USER_LINES = {
    "users/profiles": '{"userId":"u","createdAt":"1960-01-01T00:00:00.1239Z","topicAffinities":{"a":0.5}}',
    "users/devices": '{"userId":"u","deviceId":"d","linkedAt":"2026-01-01T00:00:00+01:00"}',
    "users/experiments": (
        '{"userId":"u","experimentId":"e","variant":"a","assignedAt":"2026-01-01T00:00:00Z"}'
    ),
}


@pytest.mark.parametrize("target", USER_LINES)
def test_lines_of_user_tables_are_judged_and_stored(
    settings: Settings, take: Take, store: Store, target: str
) -> None:
    right = USER_LINES[target]
    wrong = [right.replace('"u"', "5"), '{"userId":"u"}', right.replace("T00:00:00", ""), "{"]
    assert take("\n".join([right, right, *wrong]), target) == Counts(
        received=6, accepted=1, rejected=4, duplicate=1
    )
    assert take(right, target) == Counts(received=1, duplicate=1)
    newer = right.replace("00:00:00", "00:00:01")
    assert take(newer, target).accepted == 1
    assert [row["userId"] for row in stored(store, target)] == ["u", "u"]


def test_objects_of_a_profile_are_kept_as_json(take: Take, store: Store) -> None:
    take(USER_LINES["users/profiles"], "users/profiles")
    row = stored(store, "users/profiles")[0]
    assert (row["topicAffinities"], row["engagementSummary"]) == ('{"a":0.5}', None)
    assert row["createdAt"] == datetime(1960, 1, 1, 0, 0, 0, 123_000, UTC)
