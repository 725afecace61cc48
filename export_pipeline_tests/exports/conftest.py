"""Rows in a real store and ledger, and ways to export them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports import DailyExport, export_day
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.exports.encoded import DAY
from export_pipeline_tests.rows import NOON, table

NOW = NOON + timedelta(days=1)
"""When tests export: the day of the rows is closed."""

Land = Callable[..., int]


def land_rows(store: Store, ledger: Ledger, rows: Sequence[Mapping[str, Any]], data_type: str) -> int:
    batch = ledger.take_batch(data_type, "landing", ["a.jsonl"], NOON)
    mine = sorted(
        ({**row, "batchSequence": batch.sequence} for row in rows), key=lambda row: row["timestamp"]
    )
    store.append(DATA_TYPES[data_type].table, [table(mine, data_type)], {"batch": batch.id})
    days = Counter(row["timestamp"].date() for row in rows)
    ledger.commit_batch(batch.id, Counts(received=len(rows), accepted=len(rows)), days, NOON)
    return batch.sequence


def export_rows(
    settings: Settings,
    store: Store,
    ledger: Ledger,
    data_type: str = "events",
    format: str = "jsonl",
    **changes: Any,
) -> DailyExport:
    arguments: dict[str, Any] = {"settings": settings, "store": store, "ledger": ledger, "now": NOW}
    return export_day(data_type, format, changes.pop("day", DAY), **arguments | changes)


@pytest.fixture
def land(store: Store, ledger: Ledger) -> Land:
    """Store rows as one committed batch; returns its sequence number."""

    def landed(rows: Sequence[Mapping[str, Any]], data_type: str = "events") -> int:
        return land_rows(store, ledger, rows, data_type)

    return landed


@pytest.fixture
def daily(settings: Settings, store: Store, ledger: Ledger) -> Callable[..., DailyExport]:
    """Export the day of the rows."""

    def exported(data_type: str = "events", format: str = "jsonl", **changes: Any) -> DailyExport:
        changed = {"settings": settings, "store": store, "ledger": ledger} | changes
        return export_rows(data_type=data_type, format=format, **changed)

    return exported
