"""Endpoints and deliveries as JSON, one function for each call that shows them (contract, section 4)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from export_pipeline.delivery.payloads import shown
from export_pipeline.exports.manifest import instant_text
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.messages import Attempt, Stats
from export_pipeline.ledger.posting import Message
from export_pipeline.ledger.webhooks import Webhook
from export_pipeline.settings import Settings


def endpoints(ledger: Ledger, webhooks: Sequence[Webhook]) -> list[dict[str, Any]]:
    """Endpoints with their statistics."""
    stats = ledger.messages.stats(webhook.id for webhook in webhooks)
    return [_endpoint(webhook, stats[webhook.id]) for webhook in webhooks]


def _endpoint(webhook: Webhook, stats: Stats) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "webhookId": webhook.id,
        "url": webhook.url,
        "events": list(webhook.events),
        "description": webhook.description,
        "status": webhook.status,
        "statusReason": webhook.reason,
        "createdAt": instant_text(webhook.created_at),
        "stats": {
            "totalDeliveries": stats.total,
            "successfulDeliveries": stats.successful,
            "failedDeliveries": stats.failed,
            "lastDeliveryAt": _instant(stats.last_at),
        },
    }


def deliveries(
    settings: Settings, ledger: Ledger, messages: Sequence[Message], now: datetime
) -> list[dict[str, Any]]:
    """Messages with what they say and every attempt at them."""
    log = ledger.messages.attempts(message.id for message in messages)
    return [
        {
            "id": message.id,
            "event": message.event,
            "status": message.state,
            **_last(message, log[message.id]),
            "payload": shown(settings, ledger, message, now),
            "log": [_attempt(attempt) for attempt in log[message.id]],
        }
        for message in messages
    ]


def _last(message: Message, log: Sequence[Attempt]) -> dict[str, Any]:
    last = log[-1] if log else None
    return {
        "statusCode": last and last.code,
        "attempts": message.attempts,
        "responseTime": last and last.milliseconds,
        "lastError": message.error or (last and last.error),
        "lastAttemptAt": last and instant_text(last.at),
        "nextAttemptAt": _instant(message.next_attempt_at),
        "createdAt": instant_text(message.created_at),
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": attempt.number,
        "at": instant_text(attempt.at),
        "statusCode": attempt.code,
        "responseTime": attempt.milliseconds,
        "response": attempt.response,
        "error": attempt.error,
    }


def tested(ledger: Ledger, message: Message) -> dict[str, Any]:
    """What became of a test message."""
    log = ledger.messages.attempts([message.id])[message.id]
    return {
        "deliveryId": message.id,
        "status": message.state,
        "statusCode": log[-1].code if log else None,
        "responseTime": log[-1].milliseconds if log else None,
        "response": log[-1].response if log else "",
        "error": log[-1].error if log else None,
    }


def retried(message: Message) -> dict[str, Any]:
    """A message that is due again."""
    return {
        "id": message.id,
        "status": message.state,
        "attempts": message.attempts,
        "nextAttemptAt": _instant(message.next_attempt_at),
    }


def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else instant_text(moment)
