"""The shapes of the calls under ``/v1/exports/schedules``, each with an example; see ``shapes``."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from export_pipeline.api.shapes import (
    AppliedFilters,
    Compression,
    DataTypeName,
    Filters,
    Format,
    Instant,
    Shape,
    sometimes,
)
from export_pipeline.api.webhook_shapes import REPEATED, WEBHOOK_ID, Url

SCHEDULE_ID = "sch_2f0c2a7be91d4c3886aa01f2"
EXPORT_ID = f"exp_daily_20261123_{SCHEDULE_ID}"

Frequency = Annotated[
    Literal["daily", "weekly"],
    Field(description="Every day the day before, or every Monday the seven days before."),
]
Mode = Literal["full", "incremental"]
DataTypes = Annotated[list[DataTypeName], Field(min_length=1)]

CREATES = {
    "to a URL": {
        "summary": "A feed every day, to an endpoint made for it",
        "value": {"frequency": "daily", "delivery": {"url": "https://example.com/hook"}},
    },
    "to an endpoint": {
        "summary": "What was played in a week, as CSV",
        "value": {
            "frequency": "weekly",
            "dataTypes": ["events", "ads"],
            "format": "csv",
            "filters": {"eventTypes": ["playStart", "click"]},
            "delivery": {"webhookId": WEBHOOK_ID},
        },
    },
    "by e-mail": {
        "summary": "A link by e-mail",
        "value": {"frequency": "weekly", "delivery": {"email": "data@example.com"}},
    },
}
CHANGES = {
    "pause": {"summary": "Deliver nothing for now", "value": {"enabled": False}},
    "move": {"summary": "Deliver to somebody else", "value": {"delivery": {"email": "data@example.com"}}},
}


class ToWebhook(Shape):
    """To an endpoint that is there."""

    webhookId: str = Field(examples=[WEBHOOK_ID])


class ToUrl(Shape):
    """To an endpoint that is made for it."""

    url: Url


class ToEmail(Shape):
    """A link by e-mail; refused where the deployment has no mail server."""

    email: str = Field(examples=["data@example.com"])


class CreateSchedule(Shape):
    """What to export, how often, and who gets it."""

    frequency: Frequency
    dataTypes: DataTypes = Field(default=["events"])
    format: Format = "jsonl"
    compression: Compression = "gzip"
    filters: Filters = Field(default_factory=Filters)
    delivery: ToWebhook | ToUrl | ToEmail
    mode: Mode = "full"
    enabled: bool = True


class ChangeSchedule(Shape):
    """What is to change; filters are replaced as a whole."""

    frequency: Frequency = sometimes()
    dataTypes: DataTypes = sometimes()
    format: Format = sometimes()
    compression: Compression = sometimes()
    filters: Filters = sometimes()
    delivery: ToWebhook | ToUrl | ToEmail = sometimes()
    mode: Mode = sometimes()
    enabled: bool = sometimes()


class Schedule(Shape):
    """A scheduled export."""

    example: ClassVar[dict[str, Any]] = {
        "id": SCHEDULE_ID,
        "frequency": "daily",
        "dataTypes": ["events"],
        "format": "jsonl",
        "compression": "gzip",
        "filters": {"contentIds": [], "eventTypes": [], "userCount": 0},
        "delivery": {"webhookId": WEBHOOK_ID},
        "mode": "full",
        "enabled": True,
        "disabledReason": None,
        "lastExportId": EXPORT_ID,
        "nextRunAt": "2026-11-24T03:00:00Z",
        "createdAt": "2026-11-20T08:00:00Z",
    }

    id: str = Field(examples=[SCHEDULE_ID])
    frequency: Frequency
    dataTypes: list[DataTypeName]
    format: Format
    compression: Compression
    filters: AppliedFilters
    delivery: ToWebhook | ToEmail
    mode: Literal["full", "incremental"]
    enabled: bool
    disabledReason: str | None = Field(description="Why it is disabled, if nobody disabled it.")
    lastExportId: str | None = Field(description="Its newest export that was complete.")
    nextRunAt: Instant | None = Field(
        description="The next hour at which a delivery is due; null if it is disabled. It is made once its "
        "days are closed."
    )
    createdAt: Instant


class NewSchedule(Schedule):
    """A schedule; with it, this once, the secret of an endpoint that was made for it."""

    example: ClassVar[dict[str, Any]] = {
        **Schedule.example,
        "lastExportId": None,
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
    }

    secret: str = sometimes(f"Only if an endpoint was made, or moved. {REPEATED}")


class RemovedSchedule(Shape):
    """A schedule that is no more."""

    example: ClassVar[dict[str, Any]] = {"id": SCHEDULE_ID, "deleted": True}

    id: str
    deleted: Literal[True]


class QueuedRun(Shape):
    """An export that was queued."""

    example: ClassVar[dict[str, Any]] = {"id": SCHEDULE_ID, "exportId": EXPORT_ID, "status": "queued"}

    id: str
    exportId: str
    status: Literal["queued"]
