"""Erasing a person from the store takes the rows an access export would show or withhold, and no others."""

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from export_pipeline.errors import Conflict
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.privacy.erasing_store import erase_store, erased
from export_pipeline.privacy.suppressing import resolve_people, suppress
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store
from export_pipeline_tests.ingest.landed import event_ids, land, line
from export_pipeline_tests.privacy.people import (
    DEVICES,
    USERS,
    Link,
    add_links,
    expected,
    is_shown,
    is_theirs,
    is_withheld,
    links,
)
from export_pipeline_tests.rows import NOON, in_store, row, table

EVENTS = "engagement_events"
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
DAY = NOON.date()


def take_in(store: Store, ledger: Ledger, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of one batch, in the store and in the ledger."""
    batch = ledger.take_batch("events", "landing", [], NOW)
    counted = [{**each, "batchSequence": batch.sequence} for each in rows]
    store.append(EVENTS, [table(counted)], {"batch": batch.id})
    days = Counter(each["timestamp"].date() for each in rows)
    ledger.commit_batch(batch.id, Counts(received=len(rows), accepted=len(rows)), days, NOW)


def link(settings: Settings, store: Store, ledger: Ledger, linked: Sequence[Link]) -> None:
    """Device links that landed and were taken in."""
    lines = (
        json.dumps({"userId": user, "deviceId": device, "linkedAt": "2026-11-20T10:00:00Z"})
        for user, device in linked
    )
    land(settings, "links.jsonl", "".join(f"{each}\n" for each in lines), "users/devices")
    ingest_landing(settings, store, ledger, now=NOW)


def erase_people(settings: Settings, store: Store, ledger: Ledger, *user_ids: str) -> list[str]:
    """Erase people from the store in one pass; the ids of their requests."""
    requests = [ledger.erasures.create([user_id], "command", NOW)[0].id for user_id in user_ids]
    for step in (resolve_people, suppress, erase_store):
        step(settings, store, ledger, requests[0], NOW)
    return requests


def stored(store: Store) -> list[dict[str, Any]]:
    return sorted(in_store(store, EVENTS).to_pylist(), key=lambda r: r["eventId"])


def states(ledger: Ledger) -> dict[date, tuple[int, int, int]]:
    return {
        day: (state.version, state.rows, state.erasures) for day, state in ledger.known_days("events").items()
    }


people = st.sampled_from(USERS + DEVICES + ("nobody",))


@given(
    linked=links(),
    rows=st.lists(st.tuples(people, st.none() | people, st.sampled_from([0, 86_400])), max_size=25),
    asked=st.lists(people, min_size=1, max_size=2, unique=True),
)
@trying(max_examples=8, deadline=None)
def test_rows_removed_are_those_shown_and_those_withheld_and_nothing_else_changes(
    linked: list[Link], rows: list[tuple[str, str | None, int]], asked: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = load({"EXPORT_PIPELINE_HOME": folder, "EXPORT_PIPELINE_WORKERS": "2"})
        store, ledger = Store(settings), Ledger(settings)
        add_links(store, linked)
        if rows:
            made = [
                row(n, userId=u, deviceId=d, timestamp=NOON + timedelta(seconds=later + n))
                for n, (u, d, later) in enumerate(rows)
            ]
            take_in(store, ledger, made)
        before = stored(store)
        requests = erase_people(settings, store, ledger, *asked)
        after = stored(store)
        persons = [expected(user_id, linked) for user_id in asked]
        gone = frozenset[str]().union(*(person.gone for person in persons))
        left = [r for r in before if not any(is_theirs(person, r) for person in persons)]
        assert after == [
            {**r, "deviceId": "[erased]" if r["deviceId"] in gone else r["deviceId"]} for r in left
        ]
        done = erased(ledger, requests[0])[EVENTS]
        assert done.rows == len(before) - len(after)
        for request, person in zip(requests, persons, strict=True):
            shown, withheld = (sum(rule(person, r) for r in before) for rule in (is_shown, is_withheld))
            assert done.removed.get(request, 0) == shown + withheld
        counted = Counter(r["timestamp"].date() for r in after)
        assert {day: state[1] for day, state in states(ledger).items() if state[1]} == dict(counted)


@pytest.mark.backends("s3")
def test_only_the_days_that_change_rise_and_they_rise_once(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    next_day = NOON + timedelta(days=1)
    take_in(store, ledger, [row(1), row(2), row(3, timestamp=next_day)])
    (request,) = erase_people(settings, store, ledger, "user_00000001")
    assert states(ledger) == {DAY: (2, 1, 1), next_day.date(): (1, 1, 0)}
    for step in (resolve_people, suppress, erase_store):
        step(settings, store, ledger, request, NOW + timedelta(hours=1))
    assert states(ledger) == {DAY: (2, 1, 1), next_day.date(): (1, 1, 0)}


@pytest.mark.backends("s3")
def test_the_links_of_a_person_go_and_the_device_is_forgotten(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    linked = [("user_a", "device-of-a"), ("user_a", "device-shared"), ("user_b", "device-shared")]
    link(settings, store, ledger, linked)
    erase_people(settings, store, ledger, "user_a")
    rows = in_store(store, "device_links").to_pylist()
    assert [(r["userId"], r["deviceId"]) for r in rows] == [("user_b", "device-shared")]


def test_of_an_id_that_others_are_linked_to_the_rows_go_and_the_links_stay(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    link(settings, store, ledger, [("user_a", "device-shared"), ("user_b", "device-shared")])
    take_in(store, ledger, [row(1, userId="device-shared"), row(2, deviceId="device-shared")])
    erase_people(settings, store, ledger, "device-shared")
    assert [(r["userId"], r["deviceId"]) for r in stored(store)] == [("user_00000002", "device-shared")]
    links_left = sum(pq.read_metadata(path).num_rows for path in store.files("device_links"))
    assert links_left == 2


def test_what_waits_to_be_taken_in_is_suppressed_and_what_happens_later_is_kept(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    before, after = "2026-11-22T10:00:00Z", "2026-11-24T10:00:00Z"
    land(settings, "a.jsonl", line(eventId="e1", timestamp=before, receivedAt=before) + "\n")
    (request,) = erase_people(settings, store, ledger, "user_00000001")
    assert (event_ids(store), list(settings.landing.rglob("*.jsonl"))) == ([], [])
    steps = ledger.erasure_steps.all(request)
    assert steps["suppress"]["landingLinesSuppressed"] == 1
    land(settings, "b.jsonl", line(eventId="e1", timestamp=before, receivedAt=before) + "\n")
    land(settings, "c.jsonl", line(eventId="e2", timestamp=after, receivedAt=after) + "\n")
    ingest_landing(settings, store, ledger, now=NOW + timedelta(days=2))
    assert event_ids(store) == ["e2"]
    erase_store(settings, store, ledger, request, NOW + timedelta(days=2))
    assert event_ids(store) == ["e2"]


def test_a_step_before_its_turn_is_refused(settings: Settings, store: Store, ledger: Ledger) -> None:
    request = ledger.erasures.create(["user_00000001"], "command", NOW)[0].id
    with pytest.raises(Conflict):
        suppress(settings, store, ledger, request, NOW)
    resolve_people(settings, store, ledger, request, NOW)
    with pytest.raises(Conflict, match="suppress first"):
        erase_store(settings, store, ledger, request, NOW)


def test_who_was_resolved_stays_resolved_when_the_links_are_gone(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    link(settings, store, ledger, [("user_a", "device-of-a")])
    (failed,) = erase_people(settings, store, ledger, "user_a")
    ledger.erasures.fail(failed, "INTERNAL_ERROR", "a file nobody knows", NOW)
    (again,) = erase_people(settings, store, ledger, "user_a")
    assert ledger.erasures.subject(again).own == ("device-of-a",)
