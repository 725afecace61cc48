"""One round of maintenance over all tables (contract, sections 2 and 3: it changes no data version).

Owns which days are worth compacting and how long old snapshots and orphans are kept.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.maintenance import (
    LOCK,
    Compaction,
    Removed,
    compact_day,
    crowded_days,
    expire_snapshots,
    sweep_orphans,
    sweep_scratch,
)
from export_pipeline.store.tables import ALL_TABLES


@dataclass(frozen=True)
class TableMaintenance:
    """What one round did to one table."""

    compacted: tuple[Compaction, ...]
    expired: Removed
    orphans: Removed

    def to_json(self) -> dict[str, object]:
        """As a JSON object; days as ``YYYY-MM-DD``."""
        return {
            "compacted": [{**asdict(c), "day": str(c.day) if c.day else None} for c in self.compacted],
            "expired": asdict(self.expired),
            "orphans": asdict(self.orphans),
        }


def maintain(settings: Settings, store: Store, ledger: Ledger, now: datetime) -> dict[str, TableMaintenance]:
    """Compact crowded days, expire old snapshots and sweep orphans of every table, one round at a time.

    Returns:
        What was done, by table.
    """
    keep_from = now - timedelta(hours=settings.snapshot_hours)
    orphans_before = now - timedelta(hours=settings.orphan_hours)
    done = {}
    with ledger.lock(LOCK):
        sweep_scratch(settings)
        for table in ALL_TABLES:
            compacted = tuple(
                compact_day(settings, store, table, day)
                for day in crowded_days(store, table, settings.compaction_files)
            )
            expired = expire_snapshots(settings, store, table, keep_from, ledger.unfinished())
            done[table] = TableMaintenance(compacted, expired, sweep_orphans(store, table, orphans_before))
    return done
