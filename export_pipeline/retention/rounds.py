"""A round of retention: everything that is past its time at an instant, removed and counted (contract, 7)."""

from collections.abc import Callable, Mapping
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
_JOBS = "exports", "accessExports"

_Step = Callable[[], Mapping[str, Item]]
"""Removes some, and says what by what it was."""


def retain(
    settings: Settings,
    store: Store,
    ledger: Ledger,
    now: datetime,
    *,
    dry_run: bool = False,
    told: Callable[[int, int], None] | None = None,
) -> dict[str, Item]:
    """Remove what is past its time at ``now``; what was removed, by what it was.

    Twice is as good as once, and a round that was killed anywhere is completed by the next. Maintenance and
    ingest wait for the removal of raw events; exports of days that go meanwhile fail as outside retention.

    Args:
        dry_run: nothing is changed; what would be removed.
        told: how many steps are done, and how many there are.
    """
    removed: dict[str, Item] = {}
    alone: tuple[_Step, ...] = (
        lambda: raw.drop_events(settings, store, ledger, now, dry_run),
        lambda: {METRICS_TABLE: raw.drop_metrics(settings, store, ledger, now, dry_run)},
        lambda: {"quarantine": raw.drop_quarantine(settings, now, dry_run)},
        lambda: {"orphans": leftovers.sweep_orphans(settings, store, now, dry_run)},
    )
    before: tuple[_Step, ...] = (
        lambda: {"dailyExports": exports.expire_daily(settings, ledger, now, dry_run)},
        lambda: dict(
            zip(
                ("exports", "accessExports"), exports.expire_jobs(settings, ledger, now, dry_run), strict=True
            )
        ),
    )
    after: tuple[_Step, ...] = (
        lambda: {"answers": leftovers.forget_answers(ledger, now, dry_run)},
        lambda: {"downloads": leftovers.forget_downloads(settings, ledger, now, dry_run)},
        lambda: {"deliveries": leftovers.forget_deliveries(settings, ledger, now, dry_run)},
        lambda: {"audit": leftovers.forget_audit(settings, ledger, now, dry_run)},
        lambda: {"locks": leftovers.sweep_locks(settings, dry_run)},
    )
    all_steps, done = len(before) + len(alone) + len(after), 0

    def take(steps: tuple[_Step, ...]) -> None:
        nonlocal done
        for step in steps:
            removed.update(step())
            done += 1
            if told:
                told(done, all_steps)

    with answering(), ledger.lock(LOCK):
        take(before)
        with ledger.lock(MAINTENANCE_LOCK), ledger.lock(INGEST_LOCK):
            take(alone)
        take(after)
        if not dry_run:
            ledger.keeping.note_round(to_json(removed)["removed"], now)
    return removed


def to_json(removed: Mapping[str, Item]) -> dict[str, Any]:
    """What a round removed, as the contract has it (section 9)."""
    return {"removed": {what: asdict(item) for what, item in removed.items()}}
