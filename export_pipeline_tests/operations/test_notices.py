"""The operator gets an e-mail of what is broken: of each thing once, and of nothing where nobody is named."""

from datetime import UTC, datetime, timedelta

import pytest

from export_pipeline.ledger import Counts, Ledger
from export_pipeline.operations.notices import AGAIN_AFTER, tell_operator
from export_pipeline.settings import Settings, load, variable

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    given = {"home": str(settings.home), "operator_email": "operator@example.com", "smtp_host": "localhost"}
    return load({variable(name): value for name, value in given.items()})


def landed(ledger: Ledger, at: datetime, target: str = "events") -> None:
    batch = ledger.take_batch(target, "landing", ["a.jsonl"], at)
    ledger.commit_batch(batch.id, Counts(1, 1), {}, at)


def told(settings: Settings, ledger: Ledger, now: datetime) -> list[str]:
    return [subject for subject in tell_operator(settings, ledger, now) if subject.startswith("silence")]


def test_each_alert_is_told_once_and_again_only_when_it_came_back_later(
    settings: Settings, ledger: Ledger
) -> None:
    landed(ledger, NOW - timedelta(hours=30))
    assert told(settings, ledger, NOW) == ["silence: events"]
    assert told(settings, ledger, NOW + MINUTE) == []
    landed(ledger, NOW - timedelta(hours=30), "quality")
    assert told(settings, ledger, NOW + MINUTE) == ["silence: quality"]
    landed(ledger, NOW + MINUTE)
    assert told(settings, ledger, NOW + 2 * MINUTE) == []
    later = NOW + timedelta(hours=25) + AGAIN_AFTER
    landed(ledger, later - timedelta(minutes=5))
    assert told(settings, ledger, later) == []
    assert told(settings, ledger, later + timedelta(hours=25)) == ["silence: events"]


def test_what_comes_and_goes_is_not_told_each_time(settings: Settings, ledger: Ledger) -> None:
    landed(ledger, NOW - timedelta(hours=30))
    assert told(settings, ledger, NOW) == ["silence: events"]
    landed(ledger, NOW - timedelta(hours=23, minutes=59))
    assert told(settings, ledger, NOW) == []
    assert told(settings, ledger, NOW + 2 * MINUTE) == []


def test_the_letter_holds_every_new_alert_and_waits_in_the_outbox(settings: Settings, ledger: Ledger) -> None:
    for target in ("events", "ads"):
        landed(ledger, NOW - timedelta(hours=30), target)
    tell_operator(settings, ledger, NOW)
    (message,) = ledger.messages.list()[0]
    assert ledger.messages.address(message.id) == "operator@example.com"
    assert len([line for line in message.data["alerts"] if "nothing has landed" in line]) == 2
    assert " more" in message.data["subject"]


@pytest.mark.parametrize("missing", ["operator_email", "smtp_host"])
def test_without_an_operator_or_a_mail_server_nothing_is_written(
    settings: Settings, ledger: Ledger, missing: str
) -> None:
    landed(ledger, NOW - timedelta(hours=30))
    assert tell_operator(settings.model_copy(update={missing: ""}), ledger, NOW) == ()
    assert not ledger.messages.list()[0]
