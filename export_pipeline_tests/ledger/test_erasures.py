"""Erasure requests go through their states, together, and are forgotten when they are complete."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text

from export_pipeline.databases import LEDGER, address
from export_pipeline.errors import Conflict, NotFound
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.ledger.erasures import COMPLETE, FAILED, PROCESSING, QUEUED, Subject
from export_pipeline.settings import Settings

pytestmark = pytest.mark.backends("postgres")

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
DAY = date(2026, 11, 19)


def test_requests_that_wait_together_are_one_pass(ledger: Ledger) -> None:
    first, second = (ledger.erasures.create([name], "command", NOW)[0] for name in ("user_1", "user_2"))
    assert [each.id for each in ledger.erasures.begin(first.id, NOW)] == [first.id, second.id]
    third = ledger.erasures.create(["user_3"], "command", NOW)[0]
    again = ledger.erasures.begin(second.id, LATER)
    assert [(each.id, each.pass_id, each.attempt) for each in again] == [
        (first.id, first.id, 2),
        (second.id, first.id, 2),
    ]
    assert ledger.erasures.get(third.id).state == QUEUED


def test_a_request_is_due_thirty_days_after_it_was_made(ledger: Ledger) -> None:
    assert ledger.erasures.create(["user_1"], "command", NOW)[0].due_at == NOW + timedelta(days=30)


def test_who_was_erased_is_forgotten_with_the_requests_that_failed_before(ledger: Ledger) -> None:
    failed = ledger.erasures.create(["user_1"], "command", NOW)[0]
    ledger.erasures.begin(failed.id, NOW)
    ledger.erasures.keep_subject(failed.id, Subject("user_1", ("device-1",), ()))
    ledger.erasures.fail(failed.id, "INTERNAL_ERROR", "a file nobody knows", NOW)
    assert ledger.erasures.get(failed.id).state == FAILED
    again = ledger.erasures.create(["user_1"], "command", NOW)[0]
    known = ledger.erasures.unfinished(again.subject)
    assert {subject.own for subject in known} == {None, ("device-1",)}
    ledger.erasures.begin(again.id, NOW)
    done = ledger.erasures.complete(again.id, "certificates/x.json", LATER)
    assert (done.state, done.ended_at) == (COMPLETE, LATER)
    assert ledger.erasures.unfinished(again.subject) == ()
    with pytest.raises(Conflict):
        ledger.erasures.subject(failed.id)


def test_a_failed_request_can_be_gone_on_with_and_a_complete_one_not(ledger: Ledger) -> None:
    request = ledger.erasures.create(["user_1"], "command", NOW)[0]
    with pytest.raises(Conflict):
        ledger.erasures.resume(request.id, NOW)
    ledger.erasures.begin(request.id, NOW)
    ledger.erasures.fail(request.id, "INTERNAL_ERROR", "a file nobody knows", NOW)
    (going_on,) = ledger.erasures.resume(request.id, LATER)
    assert (going_on.state, going_on.error_code, going_on.attempt) == (PROCESSING, None, 1)
    ledger.erasures.complete(request.id, "certificates/x.json", LATER)
    for again in (ledger.erasures.resume, ledger.erasures.begin):
        with pytest.raises(Conflict):
            again(request.id, LATER)


def test_no_id_is_in_the_ledger_or_in_what_a_subject_looks_like(ledger: Ledger, settings: Settings) -> None:
    request = ledger.erasures.create(["user_00000001"], "command", NOW)[0]
    ledger.erasures.keep_subject(request.id, Subject("user_00000001", ("device-1",), ("device-2",)))
    assert ledger.erasures.subject(request.id).contested == ("device-2",)
    assert "0001" not in repr(ledger.erasures.subject(request.id))
    with create_engine(address(settings, LEDGER)).connect() as connection:
        row = connection.execute(text("select * from erasures")).one()
    assert not any(needle in str(value) for value in row for needle in ("user_00000001", "device-"))


def test_rows_removed_raise_the_versions_of_their_days_once(ledger: Ledger) -> None:
    batch = ledger.take_batch("events", "landing", [], NOW).id
    ledger.commit_batch(batch, Counts(received=5, accepted=5), {DAY: 5}, NOW)
    request = ledger.erasures.create(["user_1"], "command", NOW)[0]
    ledger.erasures.begin(request.id, NOW)
    for _ in range(2):
        ledger.erasure_steps.note_removed(request.id, "store.events", {"files": 1}, "events", {DAY: 2}, LATER)
    state = ledger.read_days("events", DAY, DAY)[DAY]
    assert (state.version, state.rows, state.erasures, state.changed_at) == (2, 3, 1, LATER)
    change = ledger.erasure_steps.changed_days(request.id, "store.events")[DAY]
    assert (change.rows, change.before, change.after) == (2, 1, 2)


def test_the_instant_of_an_erasure_stays_what_it_was_first(ledger: Ledger) -> None:
    request = ledger.erasures.create(["user_1"], "command", NOW)[0]
    ledger.erasures.begin(request.id, NOW)
    assert [ledger.erasures.date_from(request.id, at) for at in (NOW, LATER)] == [NOW, NOW]
    assert [ledger.erasures.reach_to(request.id, number) for number in (7, 9)] == [7, 7]


def test_an_unknown_request_is_not_found(ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        ledger.erasures.get("era_none")


def test_what_is_no_id_of_a_request_is_not_repeated(ledger: Ledger) -> None:
    with pytest.raises(NotFound, match="requestId must be era_ and 24") as raised:
        ledger.erasures.get("user_00000001")
    assert "user_00000001" not in raised.value.message


def test_a_request_goes_on_with_one_that_was_interrupted_and_with_none_of_its_own_pass(
    ledger: Ledger,
) -> None:
    ledger.erasures.create(["user_1"], "command", NOW)
    interrupted = ledger.erasures.create(["user_1"], "command", NOW)[0]
    ledger.erasures.begin(interrupted.id, NOW)
    ledger.erasures.create(["user_1"], "command", NOW)
    again = ledger.erasures.create(["user_1"], "command", NOW)[0]
    ledger.erasures.begin(again.id, NOW)
    going_on = ledger.erasures.gone_on_with(ledger.erasures.get(again.id))
    assert [each.id for each in going_on] == [interrupted.id]
