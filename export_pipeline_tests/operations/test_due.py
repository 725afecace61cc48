"""A closed day without its exports is reported once they could have been made for a while."""

from datetime import UTC, datetime, timedelta

from export_pipeline.delivery.recurring import create
from export_pipeline.exports import export_day
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.operations.due import due_now, overdue
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.rows import row, table

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
DAY = (NOW - timedelta(days=1)).date()


def arrive(store: Store, ledger: Ledger, at: datetime) -> None:
    batch = ledger.take_batch("events", "landing", [], at)
    store.append("engagement_events", [table([row(1, batchSequence=batch.sequence)])], {"batch": batch.id})
    ledger.commit_batch(batch.id, Counts(1, 1), {DAY: 1}, at)


def test_a_day_that_was_not_exported_hours_after_it_could_be_is_overdue(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    arrive(store, ledger, NOW - timedelta(hours=20))
    messages = [alert.message for alert in overdue(settings, ledger, NOW) if alert.subject == "events"]
    assert messages == [
        "events: 2026-11-20 could be exported since 2026-11-21 03:00 UTC and has no complete export in every "
        "format; its runs in Dagster say why"
    ]


def test_a_day_whose_rows_came_just_now_is_due_but_not_overdue(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    arrive(store, ledger, NOW - timedelta(minutes=5))
    assert "events" in due_now(settings, ledger, NOW).ready[DAY]
    assert [alert for alert in overdue(settings, ledger, NOW) if alert.subject == "events"] == []


def test_an_exported_day_is_neither(settings: Settings, store: Store, ledger: Ledger) -> None:
    arrive(store, ledger, NOW - timedelta(hours=20))
    for data_type in ("events", "quality", "ads"):
        for format_ in ("jsonl", "csv"):
            export_day(data_type, format_, DAY, settings=settings, store=store, ledger=ledger, now=NOW)
    assert due_now(settings, ledger, NOW).ready == {}
    assert overdue(settings, ledger, NOW) == []


def test_a_scheduled_export_that_nobody_queues_is_overdue(settings: Settings, ledger: Ledger) -> None:
    values = {"frequency": "daily", "delivery": {"email": "data@example.com"}}
    schedule, _ = create(settings, ledger, values, NOW - timedelta(hours=8), created_by="command")
    assert deliveries(settings, ledger, NOW - timedelta(hours=5)) == []
    (message,) = deliveries(settings, ledger, NOW + timedelta(days=2))
    assert message.startswith(f"{schedule.id}: exp_daily_20261121_{schedule.id} could be made since ")


def deliveries(settings: Settings, ledger: Ledger, now: datetime) -> list[str]:
    return [alert.message for alert in overdue(settings, ledger, now) if alert.kind == "overdue delivery"]
