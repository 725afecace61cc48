"""The outbox: written with what it tells of, claimed by one, kept by nobody who died."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from export_pipeline.errors import Conflict, NotFound
from export_pipeline.ledger import Job, Ledger, NewJob, messages
from export_pipeline.ledger.attempts import LEASE, Claimed, Outcome
from export_pipeline.ledger.posting import EVENTS, Message, NewMessage
from export_pipeline.ledger.webhooks import Webhook

pytestmark = pytest.mark.backends("postgres")

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
REQUEST = {"dateRange": {"start": "2026-11-18", "end": "2026-11-19"}}


def endpoint(ledger: Ledger, *events: str) -> Webhook:
    return ledger.webhooks.create("https://example.com/hook", events or EVENTS, "", NOW)[0]


def job(ledger: Ledger) -> Job:
    new = NewJob(REQUEST, (), 1000, 5000, NOW, "command")
    return ledger.jobs.start(ledger.jobs.create(new, NOW).id, 1, NOW)


def complete(ledger: Ledger) -> Job:
    return ledger.jobs.complete(
        job(ledger).id, 1, rows=7, bytes=70, path="on_demand/x", now=NOW, expires_at=NOW + 7 * DAY
    )


def all_of(ledger: Ledger, **values: Any) -> tuple[Message, ...]:
    return ledger.messages.list(**values)[0]


def claim(ledger: Ledger, now: datetime = NOW, room: int = 100, each: int = 100) -> list[Claimed]:
    return ledger.attempts.turn([], now, room, {}, each)[0]


def note(ledger: Ledger, claimed: Claimed, now: datetime = NOW, **values: Any) -> Message | None:
    given: dict[str, Any] = {
        "success": False,
        "at": now,
        "milliseconds": 5,
        "code": 500,
        "response": "no",
        "error": "answered 500",
        "next_attempt_at": now + MINUTE,
    }
    noted = ledger.attempts.turn([Outcome(claimed, **given | values)], now, 0, {}, 1)[1]
    return noted[0] if noted else None


def test_a_complete_job_is_told_to_every_endpoint_that_wants_to_know(ledger: Ledger) -> None:
    wants, both = endpoint(ledger, "export.ready"), endpoint(ledger)
    endpoint(ledger, "export.failed")
    job_id = complete(ledger).id
    found = all_of(ledger)
    assert {(m.webhook_id, m.event, m.job_id, m.state) for m in found} == {
        (wants.id, "export.ready", job_id, "pending"),
        (both.id, "export.ready", job_id, "pending"),
    }
    assert found[0].data == {"exportId": job_id, **REQUEST}


def test_a_failed_job_is_told_with_its_reason(ledger: Ledger) -> None:
    endpoint(ledger, "export.failed")
    ledger.jobs.fail(job(ledger).id, "INTERNAL_ERROR", "it broke", NOW)
    (told,) = all_of(ledger)
    assert (told.event, told.data["error"]) == (
        "export.failed",
        {"code": "INTERNAL_ERROR", "message": "it broke"},
    )


def test_a_job_that_cannot_be_completed_any_more_tells_nobody(ledger: Ledger) -> None:
    endpoint(ledger)
    cancelled = job(ledger)
    ledger.jobs.cancel(cancelled.id, NOW)
    with pytest.raises(Conflict):
        ledger.jobs.complete(cancelled.id, 1, rows=1, bytes=1, path="x", now=NOW, expires_at=NOW)
    assert not all_of(ledger)


def test_of_many_claimers_each_message_has_one(ledger: Ledger) -> None:
    for _ in range(4):
        endpoint(ledger)
    for _ in range(10):
        complete(ledger)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: claim(ledger, room=7), range(8)))
    ids = [claimed.message.id for some in taken for claimed in some]
    assert len(ids) == len(set(ids)) == 40


def test_what_was_claimed_by_a_process_that_died_is_sent_again_under_its_id(ledger: Ledger) -> None:
    endpoint(ledger)
    complete(ledger)
    (first,) = claim(ledger)
    assert not claim(ledger, NOW + LEASE - MINUTE)
    (second,) = claim(ledger, NOW + LEASE)
    assert second.message.id == first.message.id
    assert note(ledger, first, NOW + LEASE, success=True) is None
    assert note(ledger, second, NOW + LEASE, success=True, code=200, error=None) is not None
    (message,) = all_of(ledger)
    assert (message.state, message.attempts) == ("success", 1)


def test_a_target_with_many_messages_leaves_room_for_the_others(ledger: Ledger) -> None:
    crowded = endpoint(ledger)
    for _ in range(5):
        complete(ledger)
    quiet = endpoint(ledger)
    complete(ledger)
    taken = claim(ledger, room=3, each=2)
    assert [claimed.target for claimed in taken].count(quiet.id) == 1
    again = ledger.attempts.turn([], NOW, 3, {crowded.id: 2}, 2)[0]
    assert not again


def test_a_failed_attempt_is_kept_and_the_message_waits_for_the_next(ledger: Ledger) -> None:
    webhook = endpoint(ledger)
    complete(ledger)
    (claimed,) = claim(ledger)
    note(ledger, claimed)
    assert not claim(ledger, NOW + MINUTE / 2)
    assert ledger.messages.waiting(NOW) == (0, NOW + MINUTE)
    (again,) = claim(ledger, NOW + MINUTE)
    done = note(ledger, again, NOW + MINUTE, success=True, code=204, error=None)
    assert done is not None
    log = ledger.messages.attempts([done.id])[done.id]
    assert [(a.number, a.code, a.error) for a in log] == [(1, 500, "answered 500"), (2, 204, None)]
    stats = ledger.messages.stats([webhook.id])[webhook.id]
    assert (stats.total, stats.successful, stats.failed, stats.last_at) == (1, 1, 0, NOW + MINUTE)


def test_a_message_without_another_attempt_has_failed_and_can_be_retried(ledger: Ledger) -> None:
    webhook = endpoint(ledger)
    complete(ledger)
    (claimed,) = claim(ledger)
    failed = note(ledger, claimed, next_attempt_at=None)
    assert failed is not None
    assert (failed.state, failed.ended_at) == ("failed", NOW)
    assert ledger.messages.failed_since(NOW - MINUTE) == {webhook.id: 1}
    retried = ledger.messages.retry(failed.id, NOW + DAY, webhook.id)
    assert (retried.state, retried.attempts, retried.next_attempt_at) == ("pending", 1, NOW + DAY)
    assert claim(ledger, NOW + DAY)
    with pytest.raises(NotFound):
        ledger.messages.retry(failed.id, NOW, endpoint(ledger).id)


def test_an_endpoint_that_is_gone_is_disabled_and_what_waits_for_it_fails(ledger: Ledger) -> None:
    webhook = endpoint(ledger)
    complete(ledger)
    (claimed,) = claim(ledger)
    complete(ledger)
    note(ledger, claimed, code=410, gone=True)
    held = ledger.webhooks.get(webhook.id)
    assert (held.status, held.reason) == ("disabled", "it answered 410 Gone")
    assert [m.state for m in all_of(ledger)] == ["failed", "failed"]
    assert all_of(ledger)[0].error == "the endpoint is disabled: it answered 410 Gone"
    complete(ledger)
    assert len(all_of(ledger)) == 2
    with pytest.raises(Conflict, match="disabled"):
        ledger.messages.retry(all_of(ledger)[0].id, NOW)
    assert ledger.webhooks.change(webhook.id, NOW, status="active").reason is None
    ledger.messages.retry(all_of(ledger)[0].id, NOW)
    assert claim(ledger)


def test_what_has_been_due_for_longest_is_claimed_first_whatever_was_made_first(ledger: Ledger) -> None:
    endpoint(ledger)
    for _ in range(12):
        complete(ledger)
    made = claim(ledger)
    assert [each.message.number for each in made] == sorted(each.message.number for each in made)
    for minutes, each in enumerate(reversed(made)):
        note(ledger, each, next_attempt_at=NOW + minutes * MINUTE)
    again = claim(ledger, NOW + DAY)
    assert [each.message.id for each in again] == [each.message.id for each in reversed(made)]


def test_a_test_that_is_answered_with_410_disables_the_endpoint_too(ledger: Ledger) -> None:
    held = endpoint(ledger)
    ledger.messages.add_test("del_1", "export.ready", {}, held.id, "mine", NOW + LEASE, NOW)
    claimed = Claimed(ledger.messages.get("del_1"), "mine")
    note(ledger, claimed, code=500)
    assert ledger.webhooks.get(held.id).status == "active"
    ledger.messages.add_test("del_2", "export.ready", {}, held.id, "mine", NOW + LEASE, NOW)
    complete(ledger)
    note(ledger, Claimed(ledger.messages.get("del_2"), "mine"), code=410, gone=True)
    disabled = ledger.webhooks.get(held.id)
    assert (disabled.status, disabled.reason) == ("disabled", "it answered 410 Gone")
    assert {message.state for message in all_of(ledger)} == {"failed"}


def test_deliveries_that_ended_long_ago_are_forgotten_but_go_on_being_counted(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_MOST_FORGOTTEN", 2)
    held = endpoint(ledger)
    jobs = [complete(ledger).id for _ in range(6)]
    claimed = claim(ledger)
    for number, each in enumerate(claimed[:5]):
        success = number < 3
        note(ledger, each, NOW + number * DAY, success=success, next_attempt_at=None)
    for job_id in jobs[:4] + jobs[5:]:
        ledger.jobs.expire(job_id, "EXPIRED", "its time is over", NOW)
    before = ledger.messages.stats([held.id])
    assert (before[held.id].total, before[held.id].successful, before[held.id].failed) == (6, 3, 2)
    until = NOW + 3 * DAY
    assert ledger.messages.ended(until) == 3
    assert [ledger.messages.forget(until) for _ in range(2)] == [3, 0]
    assert ledger.messages.forget(NOW + 90 * DAY) == 1
    # One waits, and one is about an export that is still there.
    assert {message.job_id for message in all_of(ledger)} == {jobs[4], jobs[5]}
    assert ledger.messages.stats([held.id]) == before
    assert not any(ledger.messages.attempts([each.message.id for each in claimed[:4]]).values())


def test_an_endpoint_is_disabled_after_five_days_of_nothing_but_failures(ledger: Ledger) -> None:
    webhook = endpoint(ledger)

    def fail(at: datetime) -> str:
        complete(ledger)
        for claimed in claim(ledger, at):
            note(ledger, claimed, at, next_attempt_at=None)
        return ledger.webhooks.get(webhook.id).status

    assert fail(NOW) == "active"
    assert fail(NOW + 4 * DAY) == "active"
    complete(ledger)
    (claimed,) = claim(ledger, NOW + 4 * DAY)
    note(ledger, claimed, NOW + 4 * DAY, success=True)
    assert fail(NOW + 5 * DAY) == "active"
    assert fail(NOW + 10 * DAY - MINUTE) == "active"
    assert fail(NOW + 10 * DAY) == "disabled"
    assert ledger.webhooks.get(webhook.id).reason == "nothing but failures for 5 days"


def test_failures_of_ours_are_not_held_against_an_endpoint(ledger: Ledger) -> None:
    webhook = endpoint(ledger)
    for day in range(9):
        complete(ledger)
        (claimed,) = claim(ledger, NOW + day * DAY)
        note(ledger, claimed, NOW + day * DAY, next_attempt_at=None, code=None, ours=True)
    held = ledger.webhooks.get(webhook.id)
    assert (held.status, held.failing_since) == ("active", None)


def test_an_endpoint_that_moved_is_not_given_up_for_failures_elsewhere(ledger: Ledger) -> None:
    webhook = endpoint(ledger)
    for at in (NOW, NOW + 5 * DAY):
        ledger.webhooks.change(webhook.id, at, url=f"https://example.com/{at:%d}")
        complete(ledger)
        (claimed,) = claim(ledger, at)
        note(ledger, claimed, at, next_attempt_at=None)
    assert ledger.webhooks.get(webhook.id).status == "active"


def test_a_secret_and_the_one_before_are_in_force_for_an_hour(ledger: Ledger) -> None:
    webhook, first = ledger.webhooks.create("https://example.com", EVENTS, "", NOW)
    second, until = ledger.webhooks.rotate(webhook.id, NOW)
    assert until == NOW + timedelta(hours=1)
    within = ledger.webhooks.target(webhook.id, until - MINUTE)
    assert (within.secret, within.previous) == (second, (first,))
    assert ledger.webhooks.target(webhook.id, until).previous == ()
    assert first not in repr(within)


def test_rotating_again_within_the_hour_ends_no_secret_early(ledger: Ledger) -> None:
    webhook, first = ledger.webhooks.create("https://example.com", EVENTS, "", NOW)
    second, until = ledger.webhooks.rotate(webhook.id, NOW)
    third, later = ledger.webhooks.rotate(webhook.id, NOW + 10 * MINUTE)
    assert ledger.webhooks.target(webhook.id, until - MINUTE).previous == (second, first)
    assert ledger.webhooks.target(webhook.id, later - MINUTE).previous == (second,)
    for _ in range(3):
        ledger.webhooks.rotate(webhook.id, NOW + 20 * MINUTE)
    with pytest.raises(Conflict, match="2026-11-20T13:30:00Z"):
        ledger.webhooks.rotate(webhook.id, NOW + 30 * MINUTE)
    assert third in ledger.webhooks.target(webhook.id, NOW + 30 * MINUTE).previous
    ledger.webhooks.rotate(webhook.id, until)


def test_secrets_and_addresses_are_not_readable_in_the_ledger(ledger: Ledger) -> None:
    webhook, secret = ledger.webhooks.create("https://example.com", EVENTS, "", NOW)
    ledger.webhooks.rotate(webhook.id, NOW)
    sealed = ledger.messages.sealed("someone@example.com")
    (message_id,) = ledger.messages.send_all([NewMessage("operator.alert", {}, address=sealed)], NOW)
    assert ledger.messages.address(message_id) == "someone@example.com"
    files = b"".join(path.read_bytes() for path in ledger._settings.root.glob("ledger.db*"))
    assert secret.removeprefix("whsec_").encode() not in files
    assert b"someone@example.com" not in files


def test_what_is_told_once_is_not_told_again(ledger: Ledger) -> None:
    new = NewMessage("operator.alert", {}, address=ledger.messages.sealed("a@example.com"), once="silence")
    assert len(ledger.messages.send_all([new], NOW)) == 1
    assert ledger.messages.send_all([new], NOW) == ()


def test_a_removed_endpoint_takes_its_log_with_it(ledger: Ledger) -> None:
    webhook = endpoint(ledger)
    complete(ledger)
    (claimed,) = claim(ledger)
    ledger.webhooks.remove(webhook.id)
    assert note(ledger, claimed) is None
    assert not all_of(ledger)
    with pytest.raises(NotFound):
        ledger.messages.list(webhook.id)
