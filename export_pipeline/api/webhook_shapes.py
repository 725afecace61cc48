"""The shapes of the calls under ``/v1/webhooks``, each with an example; see ``shapes``."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from export_pipeline.api.shapes import JOB_ID, Instant, Shape, sometimes
from export_pipeline.ledger.posting import EVENTS

WEBHOOK_ID = "whk_1f0c2a7be91d4c3886aa01f2"
DELIVERY_ID = "del_7a0c2a7be91d4c3886aa01f2"

REPEATED = "Not there when a request is repeated by its Idempotency-Key."

Event = Literal[EVENTS]  # type: ignore[valid-type]
EndpointStatus = Literal["active", "disabled"]
DeliveryStatus = Literal["pending", "success", "failed"]
Url = Annotated[
    str,
    Field(
        pattern=r"^https?://[!-~]+$",
        max_length=2048,
        description="HTTPS, and on the public internet unless the operator allows it.",
        examples=["https://example.com/hook"],
    ),
]
Events = Annotated[list[Event], Field(min_length=1)]
Description = Annotated[str, Field(max_length=500)]

CREATES = {
    "exports": {
        "summary": "Be told of exports",
        "value": {"url": "https://example.com/hook", "events": ["export.ready", "export.failed"]},
    }
}
CHANGES = {
    "enable": {"summary": "Send there again", "value": {"status": "active"}},
    "move": {"summary": "Send somewhere else", "value": {"url": "https://example.com/new"}},
}
TESTS = {"ready": {"summary": "What comes when an export is ready", "value": {"event": "export.ready"}}}


class CreateWebhook(Shape):
    """An endpoint, and what it is told of."""

    url: Url
    events: Events
    description: Description = ""


class ChangeWebhook(Shape):
    """What is to change of an endpoint."""

    url: Url = sometimes()
    events: Events = sometimes()
    description: Description = sometimes()
    status: EndpointStatus = sometimes()


class TestWebhook(Shape):
    """Which event to send."""

    event: Event


class WebhookStats(Shape):
    """How deliveries to an endpoint went."""

    totalDeliveries: int
    successfulDeliveries: int
    failedDeliveries: int
    lastDeliveryAt: Instant | None


class Webhook(Shape):
    """An endpoint."""

    example: ClassVar[dict[str, Any]] = {
        "id": WEBHOOK_ID,
        "webhookId": WEBHOOK_ID,
        "url": "https://example.com/hook",
        "events": ["export.ready", "export.failed"],
        "description": "",
        "status": "active",
        "statusReason": None,
        "createdAt": "2026-11-23T08:00:00Z",
        "stats": {
            "totalDeliveries": 7,
            "successfulDeliveries": 6,
            "failedDeliveries": 0,
            "lastDeliveryAt": "2026-11-23T08:00:00Z",
        },
    }

    id: str = Field(examples=[WEBHOOK_ID])
    webhookId: str = Field(examples=[WEBHOOK_ID])
    url: str
    events: list[Event]
    description: str
    status: EndpointStatus
    statusReason: str | None = Field(description="Why it is disabled.")
    createdAt: Instant
    stats: WebhookStats


class NewWebhook(Webhook):
    """A new endpoint with the secret that signs what is sent there; it is shown this once."""

    example: ClassVar[dict[str, Any]] = {
        **Webhook.example,
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
    }

    secret: str = sometimes(REPEATED)


class RemovedWebhook(Shape):
    """An endpoint that is no more."""

    example: ClassVar[dict[str, Any]] = {"id": WEBHOOK_ID, "deleted": True}

    id: str
    deleted: Literal[True]


class RotatedSecret(Shape):
    """A new secret; for an hour the one before is in force too."""

    example: ClassVar[dict[str, Any]] = {
        "id": WEBHOOK_ID,
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
        "previousSecretExpiresAt": "2026-11-23T09:00:00Z",
    }

    id: str
    secret: str = sometimes(REPEATED)
    previousSecretExpiresAt: Instant


class TestResult(Shape):
    """What became of a test event."""

    example: ClassVar[dict[str, Any]] = {
        "deliveryId": DELIVERY_ID,
        "status": "success",
        "statusCode": 200,
        "responseTime": 81,
        "response": "ok",
        "error": None,
    }

    deliveryId: str
    status: DeliveryStatus
    statusCode: int | None
    responseTime: int | None = Field(description="Milliseconds.")
    response: str = Field(description="The first 1 kB of it.")
    error: str | None


class DeliveryAttempt(Shape):
    """One attempt at a delivery."""

    attempt: int
    at: Instant
    statusCode: int | None
    responseTime: int = Field(description="Milliseconds.")
    response: str = Field(description="The first 1 kB of it.")
    error: str | None


class Delivery(Shape):
    """A message to an endpoint, and every attempt at it."""

    example: ClassVar[dict[str, Any]] = {
        "id": DELIVERY_ID,
        "event": "export.failed",
        "status": "pending",
        "statusCode": 503,
        "attempts": 1,
        "responseTime": 81,
        "payload": {
            "event": "export.failed",
            "data": {
                "exportId": JOB_ID,
                "dateRange": {"start": "2026-11-16", "end": "2026-11-22"},
                "error": {"code": "INTERNAL_ERROR", "message": "the export failed by a defect"},
            },
            "timestamp": "2026-11-23T08:00:00Z",
            "webhookId": WEBHOOK_ID,
        },
        "lastError": "answered 503",
        "lastAttemptAt": "2026-11-23T08:00:01Z",
        "nextAttemptAt": "2026-11-23T08:01:01Z",
        "createdAt": "2026-11-23T08:00:00Z",
        "log": [
            {
                "attempt": 1,
                "at": "2026-11-23T08:00:01Z",
                "statusCode": 503,
                "responseTime": 81,
                "response": "later",
                "error": "answered 503",
            }
        ],
    }

    id: str
    event: str
    status: DeliveryStatus
    statusCode: int | None
    attempts: int
    responseTime: int | None
    payload: dict[str, Any]
    lastError: str | None
    lastAttemptAt: Instant | None
    nextAttemptAt: Instant | None
    createdAt: Instant
    log: list[DeliveryAttempt]


class RetriedDelivery(Shape):
    """A delivery that is due now."""

    example: ClassVar[dict[str, Any]] = {
        "id": DELIVERY_ID,
        "status": "pending",
        "attempts": 6,
        "nextAttemptAt": "2026-11-23T08:00:00Z",
    }

    id: str
    status: Literal["pending"]
    attempts: int
    nextAttemptAt: Instant
