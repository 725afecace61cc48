"""Alerts say in words what an operator should look at, and nothing when all is well."""

from datetime import UTC, datetime, timedelta

from export_pipeline.delivery.recurring import create
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.operations.alerts import alerts
from export_pipeline.settings import Settings, load

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def landed(ledger: Ledger, at: datetime, counts: Counts, target: str = "events") -> None:
    batch = ledger.take_batch(target, "landing", ["a.jsonl"], at)
    ledger.commit_batch(batch.id, counts, {}, at)


def test_a_new_deployment_has_nothing_to_report(settings: Settings, ledger: Ledger) -> None:
    assert alerts(settings, ledger, NOW) == []


def test_a_data_type_that_lands_is_not_reported(settings: Settings, ledger: Ledger) -> None:
    landed(ledger, NOW - timedelta(hours=23), Counts(100, 96, 4))
    assert alerts(settings, ledger, NOW) == []


def test_a_data_type_that_fell_silent_is_reported_with_since_when(settings: Settings, ledger: Ledger) -> None:
    landed(ledger, NOW - timedelta(hours=30), Counts(1, 1), "quality")
    [alert] = alerts(settings, ledger, NOW)
    assert (alert.kind, alert.subject) == ("silence", "quality")
    assert alert.message == (
        "quality: nothing has landed since 2026-11-19 06:00 UTC, 30.0 hours ago; "
        "more than 24 hours is reported"
    )


def test_the_silence_that_is_reported_is_a_setting(settings: Settings, ledger: Ledger) -> None:
    patient = load({"EXPORT_PIPELINE_HOME": str(settings.home), "EXPORT_PIPELINE_SILENCE_HOURS": "48"})
    landed(ledger, NOW - timedelta(hours=30), Counts(1, 1))
    assert alerts(patient, ledger, NOW) == []


def test_a_large_share_in_quarantine_is_reported_with_the_numbers(settings: Settings, ledger: Ledger) -> None:
    landed(ledger, NOW - timedelta(hours=2), Counts(1000, 900, 100))
    [alert] = alerts(settings, ledger, NOW)
    assert (alert.kind, alert.subject) == ("quarantine", "events")
    assert "100 of 1,000 lines (10.0%)" in alert.message


def test_old_rejections_do_not_count_for_ever(settings: Settings, ledger: Ledger) -> None:
    landed(ledger, NOW - timedelta(hours=30), Counts(1000, 0, 1000))
    landed(ledger, NOW - timedelta(hours=1), Counts(10, 10))
    assert alerts(settings, ledger, NOW) == []


def test_a_batch_that_does_not_end_is_reported(settings: Settings, ledger: Ledger) -> None:
    batch = ledger.take_batch("ads", "landing", ["a.jsonl"], NOW - timedelta(hours=2))
    [alert] = alerts(settings, ledger, NOW)
    assert alert.kind == "stuck batch"
    assert batch.id in alert.message


def test_an_erasure_that_failed_or_waits_for_long_is_reported_until_it_is_done(
    settings: Settings, ledger: Ledger
) -> None:
    waiting = ledger.erasures.create(["user_00000001"], "command", NOW - timedelta(hours=2))[0]
    failed = ledger.erasures.create(["user_00000002"], "command", NOW - timedelta(minutes=2))[0]
    ledger.erasures.fail(failed.id, "NOT_PROVEN", "nobody accounts for a file", NOW)
    found = alerts(settings, ledger, NOW)
    assert [alert.subject for alert in found] == [waiting.id, failed.id]
    assert "was asked for at 2026-11-20 10:00 UTC and is queued, due by 2026-12-20" in found[0].message
    assert "nobody accounts for a file; ask for it again" in found[1].message
    again = ledger.erasures.create(["user_00000002"], "command", NOW)[0]
    ledger.erasures.begin(again.id, NOW)
    for request in (waiting, again):
        ledger.erasures.complete(request.id, "certificates/x.json", NOW)
    assert alerts(settings, ledger, NOW) == []


def test_a_scheduled_export_that_ended_with_a_person_is_reported(settings: Settings, ledger: Ledger) -> None:
    values = {
        "frequency": "daily",
        "filters": {"userIds": ["user_00000001"]},
        "delivery": {"email": "data@example.com"},
    }
    schedule, _ = create(settings, ledger, values, NOW, created_by="command")
    assert alerts(settings, ledger, NOW) == []
    ledger.schedules.disable_naming({"user_00000001"})
    [alert] = alerts(settings, ledger, NOW)
    assert (alert.kind, alert.subject) == ("disabled schedule", schedule.id)
    assert "a person its filter named was erased" in alert.message
