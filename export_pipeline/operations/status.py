"""The state of everything at an instant: what is stored, due and broken (contract, section 9)."""

from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from export_pipeline.days import oldest_kept_day
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports import DailyExport
from export_pipeline.exports.due import Due
from export_pipeline.exports.live import LiveDays
from export_pipeline.exports.request import FORMATS
from export_pipeline.ingest import waiting_files
from export_pipeline.ledger import Ledger
from export_pipeline.operations.alerts import Alert, alerts
from export_pipeline.operations.bucket import bucket_alerts
from export_pipeline.operations.due import due_now, live_or_problem, overdue, waiting_now
from export_pipeline.operations.storage import Storage, storage
from export_pipeline.operations.storage import to_json as storage_json
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.tables import TABLE_OF


@dataclass(frozen=True)
class Stored:
    """The rows of one data type; days UTC, ``bytes`` of its files on disk."""

    data_type: str
    days: int
    first_day: date | None
    last_day: date | None
    rows: int
    bytes: int
    last_batch_at: datetime | None


@dataclass(frozen=True)
class LiveExports:
    """The daily exports of a data type and format that can be downloaded now; ``last_made_at`` is when the
    newest of them was made."""

    data_type: str
    format: str
    days: int
    rows: int
    bytes: int
    last_day: date | None
    last_made_at: datetime | None


@dataclass(frozen=True)
class Status:
    """What ``status`` shows. ``landing`` counts waiting files by target, ``deliveries`` messages due;
    ``outdated`` lists the daily exports whose day has changed since they were made, as (data type, format,
    day)."""

    stored: tuple[Stored, ...]
    exports: tuple[LiveExports, ...]
    landing: dict[str, int]
    deliveries: int
    due: Due
    outdated: tuple[tuple[str, str, date], ...]
    storage: Storage
    broken: tuple[Alert, ...]


def status(settings: Settings, store: Store, ledger: Ledger, now: datetime) -> Status:
    """The state of the deployment at ``now``."""
    look, waits = LiveDays(settings), waiting_now(settings, ledger)
    due = due_now(settings, ledger, now, live=look, waits=waits)
    last_batches = {target: last for target, (_, last) in ledger.totals().items()}
    stored, exports, outdated, damaged = [], [], [], []
    for name in DATA_TYPES:
        days = ledger.known_days(name)
        stored.append(
            Stored(
                name,
                len(days),
                min(days, default=None),
                max(days, default=None),
                sum(state.rows for state in days.values()),
                sum(store.sizes(TABLE_OF[name])),
                last_batches.get(name),
            )
        )
        kept = [day for day in sorted(days) if day >= oldest_kept_day(now, settings.raw_retention_days)]
        for format_ in FORMATS:
            found = {day: live_or_problem(look, name, format_, day) for day in kept}
            live = {day: export for day, export in found.items() if isinstance(export, DailyExport)}
            damaged += [
                Alert(
                    "damaged export", f"{name} {format_} {day}", f"{problem}; materialize the partition again"
                )
                for day, problem in found.items()
                if isinstance(problem, str)
            ]
            outdated += [
                (name, format_, day)
                for day, export in live.items()
                if export.manifest.days[0].data_version != days[day].version
            ]
            manifests = [export.manifest for export in live.values()]
            exports.append(
                LiveExports(
                    name,
                    format_,
                    len(manifests),
                    sum(manifest.row_count for manifest in manifests),
                    sum(manifest.total_bytes for manifest in manifests),
                    max(live, default=None),
                    max(
                        (datetime.fromisoformat(manifest.created_at) for manifest in manifests), default=None
                    ),
                )
            )
    return Status(
        tuple(stored),
        tuple(exports),
        {target: len(waiting_files(settings, target)) for target in TABLE_OF},
        ledger.messages.waiting(now)[0],
        due,
        tuple(outdated),
        storage(settings, store, ledger, now),
        (
            *bucket_alerts(settings),
            *alerts(settings, ledger, now),
            *overdue(settings, ledger, now, due=due, waits=waits),
            *damaged,
        ),
    )


def to_json(found: Status) -> dict[str, Any]:
    """``found`` as a JSON document; days as ``YYYY-MM-DD``, instants as RFC 3339."""
    return {
        "stored": [
            {
                "dataType": s.data_type,
                "days": s.days,
                "firstDay": s.first_day and str(s.first_day),
                "lastDay": s.last_day and str(s.last_day),
                "rows": s.rows,
                "bytes": s.bytes,
                "lastBatchAt": s.last_batch_at and s.last_batch_at.isoformat(),
            }
            for s in found.stored
        ],
        "exports": [
            {
                "dataType": e.data_type,
                "format": e.format,
                "days": e.days,
                "rows": e.rows,
                "bytes": e.bytes,
                "lastDay": e.last_day and str(e.last_day),
                "lastMadeAt": e.last_made_at and e.last_made_at.isoformat(),
            }
            for e in found.exports
        ],
        "storage": storage_json(found.storage),
        "due": {
            "landing": found.landing,
            "deliveries": found.deliveries,
            "exports": [
                {"date": str(day), "dataTypes": list(data_types), "state": state}
                for state, by_day in (("ready", found.due.ready), ("waiting", found.due.waiting))
                for day, data_types in by_day.items()
            ],
            "outdated": [
                {"dataType": data_type, "format": format_, "date": str(day)}
                for data_type, format_, day in found.outdated
            ],
        },
        "broken": [asdict(alert) for alert in found.broken],
    }
