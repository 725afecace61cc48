"""The signatures of a webhook, two families of headers on every request (contract, section 5)."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook as StandardWebhook

SIGNATURES = ("webhook-signature", "X-Shortform-Signature")


def without_signatures(given: Mapping[str, str]) -> dict[str, str]:
    """The headers of a request for its log: with a signature in it a message could be sent again."""
    return {name: "(not kept)" if name in SIGNATURES else value for name, value in given.items()}


def headers(
    message_id: str, webhook_id: str, body: bytes, at: datetime, secrets: Sequence[str], key: str
) -> dict[str, str]:
    """The headers that sign a request.

    Args:
        at: when it is sent; whole seconds count.
        secrets: every secret in force, for ``webhook-signature``.
        key: the one of them for ``X-Shortform-Signature``, which has room for one.
    """
    moment = at.astimezone(UTC)
    timestamp = str(int(moment.timestamp()))
    text = body.decode()
    signatures = [StandardWebhook(secret).sign(message_id, moment, text) for secret in secrets]
    mac = hmac.new(key.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
        "X-Shortform-Signature": f"sha256={mac.hexdigest()}",
        "X-Shortform-Timestamp": timestamp,
        "X-Shortform-Webhook-ID": webhook_id,
        "X-Shortform-Delivery-ID": message_id,
    }
