"""What nobody owns any more: orphans of dead processes, traces of locks, old answers, old entries of
logs."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from export_pipeline import buckets, locks
from export_pipeline.exports.daily import SCRATCH
from export_pipeline.exports.publishing import sweep, sweep_unpublished
from export_pipeline.ingest.batches import SCRATCH as INGEST_SCRATCH
from export_pipeline.ledger import Ledger
from export_pipeline.objects import is_remote
from export_pipeline.retention.items import Item, on_disk, remove
from export_pipeline.settings import Settings
from export_pipeline.store import Store, maintenance
from export_pipeline.store.maintenance import SCRATCH as COMPACTION_SCRATCH
from export_pipeline.store.tables import ALL_TABLES

_UPLOAD_TIME = timedelta(days=1)
"""After which an upload that nobody finished is given up."""


def sweep_orphans(settings: Settings, store: Store, now: datetime, dry: bool) -> Item:
    """Remove store files that nothing refers to, and what dead processes left in ``tmp``.

    Only while neither ingest nor maintenance runs. A file is old by the machine's clock, whatever ``now``
    is: it may belong to a commit in flight.
    """
    before = min(now, datetime.now(UTC)) - timedelta(hours=settings.orphan_hours)
    left = [
        path for prefix in (INGEST_SCRATCH, COMPACTION_SCRATCH) for path in settings.tmp.glob(f"{prefix}-*")
    ]
    exports = list((settings.tmp / "exports").glob(f"{SCRATCH}*"))
    if dry:
        sizes = [size for table in ALL_TABLES for size in maintenance.orphans(store, table, before).values()]
        return Item(0, len(sizes), sum(sizes)) + on_disk(left)
    removed = remove(left)
    for table in ALL_TABLES:
        swept = maintenance.sweep_orphans(store, table, before)
        removed += Item(0, swept.files, swept.bytes)
    before_sweep = _sizes(exports)
    sweep(settings.tmp / "exports", SCRATCH)
    for path, item in before_sweep.items():
        if not path.exists():
            removed += item
    removed += Item(0, *sweep_unpublished(settings))
    if is_remote(settings.data):
        a_day_ago = (datetime.now(UTC) - _UPLOAD_TIME).timestamp()
        for upload in list(buckets.unfinished(settings.data)):
            if upload.begun < a_day_ago:
                buckets.abort(upload)
    return removed


def _sizes(paths: Iterable[Path]) -> dict[Path, Item]:
    found = {}
    for path in paths:
        with suppress(FileNotFoundError):
            found[path] = on_disk([path])
    return found


def sweep_locks(settings: Settings, dry: bool) -> Item:
    """Remove the traces of locks that nobody holds."""
    return Item(files=len(locks.unheld(settings)) if dry else locks.sweep(settings))


def forget_answers(ledger: Ledger, now: datetime, dry: bool) -> Item:
    """Remove the answers kept for Idempotency-Keys whose time is over at ``now``."""
    return Item(rows=ledger.answers.ended(now) if dry else ledger.answers.forget(now))


def forget_downloads(settings: Settings, ledger: Ledger, now: datetime, dry: bool) -> Item:
    """Remove links, and the log of downloads through them, that ended long enough before ``now``."""
    before = now - timedelta(days=settings.log_retention_days)
    return Item(rows=ledger.links.ended(before) if dry else ledger.links.forget(before))


def forget_deliveries(settings: Settings, ledger: Ledger, now: datetime, dry: bool) -> Item:
    """Remove messages, and the log of attempts at them, that ended long enough before ``now``."""
    before = now - timedelta(days=settings.log_retention_days)
    return Item(rows=ledger.messages.ended(before) if dry else ledger.messages.forget(before))


def forget_audit(settings: Settings, ledger: Ledger, now: datetime, dry: bool) -> Item:
    """Remove what the portal's log says of what was done long enough before ``now``."""
    before = now - timedelta(days=settings.audit_retention_days)
    return Item(rows=ledger.audit.older(before) if dry else ledger.audit.forget(before))
