"""A round of retention: everything that is past its time at an instant, removed and counted (contract, 7)."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from export_pipeline.ingest.batches import LOCK as INGEST_LOCK
from export_pipeline.ledger import Ledger
from export_pipeline.outages import answering
from export_pipeline.retention import exports, leftovers, raw
from export_pipeline.retention.items import Item
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.maintenance import LOCK as MAINTENANCE_LOCK
from export_pipeline.store.tables import METRICS_TABLE

LOCK = "retention"


def retain(
    settings: Settings, store: Store, ledger: Ledger, now: datetime, *, dry_run: bool = False
) -> dict[str, Item]:
    """Remove what is past its time at ``now``; what was removed, by what it was.

    Twice is as good as once, and a round that was killed anywhere is completed by the next. Maintenance and
    ingest wait for the removal of raw events; exports of days that go meanwhile fail as outside retention.

    Args:
        dry_run: nothing is changed; what would be removed.
    """
    removed: dict[str, Item] = {}
    with answering(), ledger.lock(LOCK):
        removed["dailyExports"] = exports.expire_daily(settings, ledger, now, dry_run)
        removed["exports"], removed["accessExports"] = exports.expire_jobs(settings, ledger, now, dry_run)
        with ledger.lock(MAINTENANCE_LOCK), ledger.lock(INGEST_LOCK):
            removed |= raw.drop_events(settings, store, ledger, now, dry_run)
            removed[METRICS_TABLE] = raw.drop_metrics(settings, store, ledger, now, dry_run)
            removed["quarantine"] = raw.drop_quarantine(settings, now, dry_run)
            removed["orphans"] = leftovers.sweep_orphans(settings, store, now, dry_run)
        removed["answers"] = leftovers.forget_answers(ledger, now, dry_run)
        removed["downloads"] = leftovers.forget_downloads(settings, ledger, now, dry_run)
        removed["deliveries"] = leftovers.forget_deliveries(settings, ledger, now, dry_run)
        removed["audit"] = leftovers.forget_audit(settings, ledger, now, dry_run)
        removed["locks"] = leftovers.sweep_locks(settings, dry_run)
        if not dry_run:
            ledger.keeping.note_round(to_json(removed)["removed"], now)
    return removed


def to_json(removed: Mapping[str, Item]) -> dict[str, Any]:
    """What a round removed, as the contract has it (section 9)."""
    return {"removed": {what: asdict(item) for what, item in removed.items()}}
