"""A scheduled export whose filter names a person who is erased ends, and says so to whoever gets it."""

from datetime import UTC, datetime
from typing import Any

from export_pipeline.delivery.recurring import create
from export_pipeline.exports.scheduled import queue_due
from export_pipeline.ledger import Ledger
from export_pipeline.privacy.requests import request_erasures
from export_pipeline.privacy.suppressing import resolve_people, suppress
from export_pipeline.settings import Settings
from export_pipeline.store import Store

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
GONE, OTHER = "user_00000001", "user_00000002"


def test_its_job_fails_and_it_is_disabled_with_the_reason(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    def scheduled(*user_ids: str) -> Any:
        filters = {"userIds": list(user_ids)} if user_ids else {"eventTypes": ["share"]}
        values = {"frequency": "daily", "filters": filters, "delivery": {"email": "data@example.com"}}
        return create(settings, ledger, values, NOW, created_by="command")[0]

    naming, others = scheduled(OTHER, GONE), [scheduled(OTHER), scheduled()]
    queue_due(settings, store, ledger, NOW, lambda _: ())
    (request,) = request_erasures(ledger, [GONE], now=NOW, created_by="command")
    resolve_people(settings, store, ledger, request.id, NOW)
    suppress(settings, store, ledger, request.id, NOW)
    failed = ledger.jobs.get(f"exp_daily_20261123_{naming.id}", NOW)
    assert (failed.state, failed.error_code) == ("failed", "SUBJECT_ERASED")
    ended = ledger.schedules.get(naming.id)
    assert not ended.enabled
    assert "erased" in str(ended.reason)
    assert ledger.schedules.user_ids(naming.id) == ()
    assert [schedule.id for schedule in ledger.schedules.enabled()] == [other.id for other in others]
    (message,) = ledger.messages.list()[0]
    assert (message.event, message.job_id) == ("export.failed", failed.id)
    assert GONE not in str(message.data)
