"""API keys: shown once, held as hashes, revocable."""

import sqlite3
from datetime import UTC, datetime

import pytest

from export_pipeline.errors import Conflict, InvalidRequest, NotFound, Unauthorized
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings

pytestmark = pytest.mark.backends("postgres")

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_a_key_is_found_by_its_text(ledger: Ledger) -> None:
    key, text = ledger.keys.create(["exports:write", "exports:read"], NOW, "nightly job")
    assert text.startswith("sk_live_")
    assert ledger.keys.find(text) == key
    assert key.scopes == ("exports:read", "exports:write")


@pytest.mark.backends
def test_the_ledger_does_not_hold_the_text(ledger: Ledger, settings: Settings) -> None:
    _, text = ledger.keys.create(["exports:read"], NOW)
    with sqlite3.connect(settings.root / "ledger.db") as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    assert text.encode() not in (settings.root / "ledger.db").read_bytes()


def test_a_changed_text_finds_nothing(ledger: Ledger) -> None:
    _, text = ledger.keys.create(["exports:read"], NOW)
    other = "A" if text[-1] != "A" else "B"
    for wrong in (text[:-1] + other, text[:-1], text + "A", "", "sk_live_", text.swapcase(), "ü" * len(text)):
        with pytest.raises(Unauthorized):
            ledger.keys.find(wrong)


def test_a_revoked_key_is_refused_and_stays_listed(ledger: Ledger) -> None:
    key, text = ledger.keys.create(["exports:read"], NOW)
    ledger.keys.revoke(key.id, NOW)
    with pytest.raises(Unauthorized):
        ledger.keys.find(text)
    assert [(k.id, k.revoked_at) for k in ledger.keys.list()] == [(key.id, NOW)]
    with pytest.raises(Conflict, match="was revoked before"):
        ledger.keys.revoke(key.id, NOW)


def test_a_key_that_does_not_exist_cannot_be_revoked(ledger: Ledger) -> None:
    with pytest.raises(NotFound, match="no such key; keyId must be key_ and 24"):
        ledger.keys.revoke("key_unknown", NOW)


@pytest.mark.parametrize(("scopes", "says"), [([], "scope is missing"), (["all"], "scope is 'all'")])
def test_scopes_must_be_known(ledger: Ledger, scopes: list[str], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        ledger.keys.create(scopes, NOW)
