"""What a message says: its body as a receiver gets it, with links made for it (contract, section 5)."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from export_pipeline.delivery.links import (
    LIFETIME,
    HmacSigner,
    Urls,
    current_link,
    urls,
)
from export_pipeline.delivery.published import Published, published
from export_pipeline.errors import Conflict, DamagedData, Gone, NotFound
from export_pipeline.exports.manifest import instant_text
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.links import Link
from export_pipeline.ledger.posting import EXPORT_FAILED, EXPORT_READY, EXPORT_RESTATED, USER_ERASED, Message
from export_pipeline.settings import Settings
from export_pipeline.sizes import size

REMOVED_IN = "removedIn"
"""What stands for the link of ``user.erased`` until it is sent: the id of a pass of erasures."""
REMOVED_EVENTS = "removed-events.jsonl"

LINKED = (EXPORT_READY, EXPORT_RESTATED)
"""Events that come with links to files."""


def linked(export: Published, urls: Urls) -> dict[str, Any]:
    """Where the files of an export are, as the API's status and messages tell it."""
    return {
        "downloadUrl": urls.download,
        "manifestUrl": urls.manifest,
        "expiresAt": instant_text(urls.expires_at),
        "files": [{**file, "url": urls.files[file["name"]]} for file in export.manifest.to_json()["files"]],
    }


def payload(settings: Settings, ledger: Ledger, message: Message, now: datetime) -> dict[str, Any]:
    """The body of a message to send at ``now``; links last 7 days, and no longer than the files.

    Raises:
        Gone: if what it links to is there no more.
        DamagedData: if the files are not as they were published.
    """
    data = dict(message.data)
    if (pass_id := data.pop(REMOVED_IN, None)) is not None:
        data["removedEventsUrl"] = _removed_events(settings, message, pass_id, now)
    if message.job_id is not None and message.event in LINKED and not message.test:
        data |= _links(settings, ledger, message.job_id, now)
    return _wrapped(message, data)


def shown(settings: Settings, ledger: Ledger, message: Message, now: datetime) -> dict[str, Any]:
    """The body of a message for its log; without links if there are no files to link to."""
    try:
        return payload(settings, ledger, message, now)
    except (Gone, DamagedData):
        return _wrapped(message, message.data)


def _removed_events(settings: Settings, message: Message, pass_id: str, now: datetime) -> str:
    """Where the ids of the events are that an erasure took out of exports; the same on every try."""
    link = Link(pass_id, "", message.created_at, message.created_at + LIFETIME, None)
    signer = HmacSigner(settings)
    return signer.url(link, REMOVED_EVENTS)


def encoded(document: Mapping[str, Any]) -> bytes:
    """A body as it is sent and signed."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _wrapped(message: Message, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "event": message.event,
        "data": dict(data),
        "timestamp": instant_text(message.created_at),
        "webhookId": message.webhook_id,
    }


def _links(settings: Settings, ledger: Ledger, job_id: str, now: datetime) -> dict[str, Any]:
    try:
        job = ledger.jobs.get(job_id, now)
        export = published(settings, job)
    except (Conflict, NotFound):
        raise Gone(f"{job_id} has no files any more") from None
    signer = HmacSigner(settings)
    return {
        **linked(export, urls(export, current_link(ledger, job, now), signer)),
        "fileSize": size(job.bytes or 0),
        "bytes": job.bytes,
        "rowCount": job.rows,
    }


def example(event: str) -> dict[str, Any]:
    """The data of a test message: of the event's shape, about an export that does not exist."""
    export: dict[str, Any] = {
        "exportId": "exp_test",
        "dateRange": {"start": "2026-01-01", "end": "2026-01-07"},
        "test": True,
    }
    url = "https://example.com/exp_test"
    files = {
        "downloadUrl": f"{url}.jsonl.gz",
        "manifestUrl": f"{url}/manifest.json",
        "expiresAt": "2026-01-15T00:00:00Z",
        "files": [],
        "fileSize": "0B",
        "bytes": 0,
        "rowCount": 0,
    }
    replaced = {
        "version": 2,
        "replaces": 1,
        "reason": "late_data",
        "rowsAdded": 0,
        "rowsRemoved": 0,
    }
    return {
        EXPORT_READY: export | files,
        EXPORT_FAILED: export | {"error": {"code": "INTERNAL_ERROR", "message": "a test"}},
        EXPORT_RESTATED: export | files | replaced,
        USER_ERASED: {
            "requestIds": ["era_test"],
            "exports": [{"exportId": "exp_test", "version": 2}],
            "removedEventsUrl": f"{url}/removed-events.jsonl",
            "test": True,
        },
    }[event]
