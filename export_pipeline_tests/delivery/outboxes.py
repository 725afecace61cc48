"""A deployment with an outbox, a clock that is set, and exports that are complete."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from export_pipeline.days import midnight, utc_now
from export_pipeline.delivery.outbox import Courier
from export_pipeline.exports.service import request_export, run_job
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.messages import Attempt
from export_pipeline.ledger.posting import EVENTS, Message
from export_pipeline.settings import Settings, load, variable
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import land_rows
from export_pipeline_tests.rows import row

ROWS = 5


@dataclass
class Clock:
    """Says what it was set to."""

    now: datetime = field(default_factory=utc_now)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, by: timedelta) -> None:
        self.now += by


class Outbox:
    """One deployment; ``more`` are settings."""

    def __init__(self, home: Path, **more: str) -> None:
        given = {"home": str(home), "workers": "1", "jobs_per_day": "100000", **more}
        self.settings: Settings = load({variable(name): value for name, value in given.items()})
        self.ledger = Ledger(self.settings)
        self.clock = Clock()

    def endpoint(self, url: str, *events: str) -> str:
        """The id of an endpoint that wants these events; default: all."""
        return self.ledger.webhooks.create(url, events or EVENTS, "", self.clock())[0].id

    def secret(self, webhook_id: str) -> str:
        return self.ledger.webhooks.target(webhook_id, self.clock()).secret

    def fail_job(self) -> str:
        """A job that has failed, which makes messages without links; quick to make."""
        store = Store(self.settings)
        day = str(self.clock().date() - timedelta(days=1))
        job = request_export(
            self.settings, store, self.ledger, {"startDate": day, "endDate": day},
            now=self.clock(), created_by="command",
        )  # fmt: skip
        self.ledger.jobs.fail(job.id, "INTERNAL_ERROR", "it broke", self.clock())
        return job.id

    def complete_job(self, **values: object) -> str:
        """A job whose export of a few rows is published."""
        store = Store(self.settings)
        day = datetime.now(UTC).date() - timedelta(days=1)
        noon = midnight(day) + timedelta(hours=12)
        if not self.ledger.known_days("events"):
            rows = [row(n, timestamp=noon, receivedAt=noon) for n in range(ROWS)]
            land_rows(store, self.ledger, rows, "events")
        asked = {"startDate": str(day), "endDate": str(day), **values}
        job = request_export(self.settings, store, self.ledger, asked, now=self.clock(), created_by="command")
        run_job(self.settings, store, self.ledger, job.id, 1, clock=self.clock)
        return job.id

    def deliver(self, **more: Any) -> int:
        return Courier(self.settings, self.ledger, clock=self.clock, **more).deliver_due()

    def messages(self) -> tuple[Message, ...]:
        return self.ledger.messages.list(limit=100)[0]

    def log(self, message_id: str) -> tuple[Attempt, ...]:
        return tuple(self.ledger.messages.attempts([message_id])[message_id])
