"""A request made again under its Idempotency-Key has the same outcome, whatever happened in between."""

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from export_pipeline.errors import Conflict
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings

pytestmark = pytest.mark.backends("postgres")

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_the_answer_is_given_again(ledger: Ledger) -> None:
    first = ledger.answers.reserve("key_1", "POST /a", "k", b"body", "exp_1", NOW)
    ledger.answers.keep(first, 202, {"jobId": "exp_1"})
    again = ledger.answers.reserve("key_1", "POST /a", "k", b"body", "exp_2", NOW)
    assert (again.result_id, again.status, again.data) == ("exp_1", 202, {"jobId": "exp_1"})


def test_a_process_that_died_before_it_answered_leaves_what_it_was_to_make(ledger: Ledger) -> None:
    ledger.answers.reserve("key_1", "POST /a", "k", b"body", "exp_1", NOW)
    again = ledger.answers.reserve("key_1", "POST /a", "k", b"body", "exp_2", NOW)
    assert (again.result_id, again.status) == ("exp_1", None)


def test_another_body_is_a_conflict(ledger: Ledger) -> None:
    ledger.answers.reserve("key_1", "POST /a", "k", b"body", "exp_1", NOW)
    with pytest.raises(Conflict, match="another body"):
        ledger.answers.reserve("key_1", "POST /a", "k", b"other", "exp_2", NOW)


def test_keys_and_routes_have_answers_of_their_own(ledger: Ledger) -> None:
    ledger.answers.reserve("key_1", "POST /a", "k", b"body", "exp_1", NOW)
    for key, route in (("key_2", "POST /a"), ("key_1", "POST /b")):
        assert ledger.answers.reserve(key, route, "k", b"other", "exp_2", NOW).result_id == "exp_2"


def test_after_24_hours_the_key_is_free(ledger: Ledger) -> None:
    ledger.answers.reserve("key_1", "POST /a", "k", b"body", "exp_1", NOW)
    last = NOW + timedelta(hours=24, microseconds=-1)
    assert ledger.answers.reserve("key_1", "POST /a", "k", b"body", "exp_2", last).result_id == "exp_1"
    later = NOW + timedelta(hours=24)
    assert ledger.answers.reserve("key_1", "POST /a", "k", b"other", "exp_2", later).result_id == "exp_2"


def test_a_refused_request_can_be_corrected(ledger: Ledger) -> None:
    refused = ledger.answers.reserve("key_1", "POST /a", "k", b"wrong", "exp_1", NOW)
    ledger.answers.release(refused)
    assert ledger.answers.reserve("key_1", "POST /a", "k", b"right", "exp_2", NOW).result_id == "exp_2"


@pytest.mark.backends
def test_nothing_a_client_sent_is_in_the_ledger(ledger: Ledger, settings: Settings) -> None:
    ledger.answers.reserve(
        "key_1", "POST /a", "for-user_00000001", b'{"userIds": ["user_00000002"]}', "e", NOW
    )
    with sqlite3.connect(settings.root / "ledger.db") as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    assert b"user_0000" not in (settings.root / "ledger.db").read_bytes()
