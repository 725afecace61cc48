"""What is kept beside events and daily exports, how fresh it is, and what retention last removed."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.jobs import ON_DEMAND, SCHEDULED, USER
from export_pipeline.objects import files_below, is_remote
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.tables import METRICS_TABLE, TABLE_OF


@dataclass(frozen=True)
class UserTable:
    """What is known of users, of one landing ``target``; ``bytes`` of its files."""

    target: str
    table: str
    bytes: int
    last_batch_at: datetime | None


@dataclass(frozen=True)
class Place:
    """Files of one kind that are kept for a time."""

    name: str
    files: int
    bytes: int


@dataclass(frozen=True)
class Storage:
    """``free_bytes`` are those of the disk that holds the data, None where that is no disk of this machine;
    ``last_round`` is when retention last removed something, and what it was."""

    tables: tuple[UserTable, ...]
    metrics_to: date | None
    metrics_bytes: int
    places: tuple[Place, ...]
    free_bytes: int | None
    last_delivered_at: datetime | None
    last_round: tuple[datetime, Mapping[str, Any]] | None


def storage(settings: Settings, store: Store, ledger: Ledger, now: datetime) -> Storage:
    """What is kept at ``now``."""
    last_batches = {target: last for target, (_, last) in ledger.totals().items()}
    tables = tuple(
        UserTable(target, table, sum(store.sizes(table)), last_batches.get(target))
        for target, table in TABLE_OF.items()
        if target not in DATA_TYPES
    )
    kept = ledger.jobs.kept(now)
    places = [
        Place(name, *kept.get(kind, (0, 0)))
        for name, kind in (
            ("on-demand exports", ON_DEMAND),
            ("scheduled exports", SCHEDULED),
            ("access exports", USER),
        )
    ]
    quarantined = [size for _, size, _ in files_below(settings.quarantine)]
    places.append(Place("quarantine", len(quarantined), sum(quarantined)))
    return Storage(
        tables,
        max(ledger.keeping.metrics(), default=None),
        sum(store.sizes(METRICS_TABLE)),
        tuple(places),
        None if is_remote(settings.data) else shutil.disk_usage(settings.root).free,
        ledger.messages.last_success(),
        ledger.keeping.last_round(),
    )


def to_json(found: Storage) -> dict[str, Any]:
    """``found`` as JSON; instants as RFC 3339, days as ``YYYY-MM-DD``."""
    return {
        "tables": [
            {
                "table": each.table,
                "bytes": each.bytes,
                "lastBatchAt": each.last_batch_at and each.last_batch_at.isoformat(),
            }
            for each in found.tables
        ],
        "metrics": {"lastDay": found.metrics_to and str(found.metrics_to), "bytes": found.metrics_bytes},
        "places": [{"name": each.name, "files": each.files, "bytes": each.bytes} for each in found.places],
        "freeBytes": found.free_bytes,
        "lastDeliveredAt": found.last_delivered_at and found.last_delivered_at.isoformat(),
        "lastRetention": found.last_round
        and {"at": found.last_round[0].isoformat(), "removed": found.last_round[1]},
    }
