"""What an ingest did: counts a target, and the days it touched."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from export_pipeline.events.catalogue import DATA_TYPES, USER_TABLES
from export_pipeline.ledger import Batch, Counts

_PUBLIC = ("received", "accepted", "rejected", "duplicate", "suppressed")


@dataclass
class Report:
    """The committed batches of one ingest.

    ``counts`` by target (a data type or ``users/<table>``); ``days`` the accepted rows by data type and day
    (UTC); ``batches`` in the order in which they were taken.
    """

    counts: dict[str, Counts] = field(default_factory=dict)
    days: dict[str, dict[date, int]] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)

    def add(self, batch: Batch, counts: Counts, days: Mapping[date, int]) -> None:
        """Include a batch that was committed."""
        self.batches.append(batch)
        self.counts[batch.target] = self.counts.get(batch.target, Counts()) + counts
        if batch.target in DATA_TYPES:
            touched = self.days.setdefault(batch.target, {})
            for day, rows in days.items():
                touched[day] = touched.get(day, 0) + rows

    def to_json(self) -> dict[str, Any]:
        """``{"dataTypes": {name: counts}, "users": {table: counts}}``, every name (contract, section 9)."""
        return {
            "dataTypes": {name: self._public(name) for name in DATA_TYPES},
            "users": {name: self._public(f"users/{name}") for name in USER_TABLES},
        }

    def _public(self, target: str) -> dict[str, int]:
        counts = asdict(self.counts.get(target, Counts()))
        return {name: counts[name] for name in _PUBLIC}
