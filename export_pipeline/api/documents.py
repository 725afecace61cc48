"""What the OpenAPI document says of each call: its answers and errors, with examples."""

from typing import Any

from pydantic import BaseModel

from export_pipeline.api.envelopes import STATUS_OF
from export_pipeline.api.shapes import (
    JOB_ID,
    REQUEST_ID,
    Cancelled,
    Created,
    Envelope,
    Listed,
    Page,
    Refusal,
    Status,
)
from export_pipeline.api.user_shapes import (
    ACCESS_ID,
    ERASURE_ID,
    USER_ID,
    AccessCreated,
    AccessStatus,
    ErasuresCreated,
    ErasureStatus,
)

REQUESTS = {
    "a week": {
        "summary": "A week of engagement events as one .jsonl.gz",
        "value": {"startDate": "2026-11-16", "endDate": "2026-11-22"},
    },
    "what came since": {
        "summary": "The rows taken in since an export, whatever day they belong to",
        "value": {"cursor": "cur_wJd0r3ZLQ2n5xQnU6J3Z8mVb7bB7InYiOjEs4oCm"},
    },
    "some videos": {
        "summary": "What was played of two videos, as CSV",
        "value": {
            "startDate": "2026-11-16",
            "endDate": "2026-11-22",
            "dataTypes": ["events", "ads"],
            "format": "csv",
            "compression": "none",
            "filters": {"contentIds": ["vid_00000001", "vid_00000002"], "eventTypes": ["playStart", "click"]},
        },
    },
}
LINK_REQUESTS = {
    "fresh": {"summary": "New URLs beside the ones given out", "value": {}},
    "replace": {"summary": "New URLs instead", "value": {"revokePrevious": True}},
}
ERASURE_REQUESTS = {
    "two people": {"summary": "By their ids", "value": {"userIds": [USER_ID, "user_00000002"]}}
}
ACCESS_REQUESTS = {"a user": {"summary": "By the user's id", "value": {"userId": USER_ID}}}
_MEANINGS = {
    400: (
        "The request is malformed",
        "startDate",
        "startDate is 'today'; it must be a calendar day as YYYY-MM-DD",
    ),
    401: ("No API key, or one that is not in force", None, "the API key is unknown or was revoked"),
    403: (
        "The key or the URL does not allow it",
        "scope",
        "the key has exports:read; this needs exports:write",
    ),
    404: ("There is no such thing", "jobId", f"there is no job '{JOB_ID}'"),
    409: ("The state of things does not allow it", "jobId", f"job {JOB_ID} has ended; it is complete"),
    410: ("It is gone", None, "the URL has expired; ask for the export's status to get a new one"),
    422: (
        "A day is outside raw retention",
        "startDate",
        "startDate is 2026-01-01; events are kept for 90 days",
    ),
    429: ("Too much; `Retry-After` says when to ask again", None, "more than 600 requests in a minute"),
    500: ("A defect", None, "an unexpected error; the server's log has more under the request id"),
    503: ("Not available; `Retry-After` says when to ask again", None, "the ledger is locked; try again"),
}
_RATE_HEADERS = {
    "X-RateLimit-Limit": ("Requests a minute.", "600"),
    "X-RateLimit-Remaining": ("What is left of them.", "599"),
    "X-RateLimit-Reset": ("When it starts anew, in seconds since 1970.", "1764000060"),
}


_SIGNED = (
    "http://localhost:8000/v1/downloads/lnk_3c9e1f0a2b4d5e6f70819203/{}?expires=1796057664&signature=Zm9v"
)
_WEEK = {"start": "2026-11-16", "end": "2026-11-22"}
_COMPLETE = {
    "jobId": JOB_ID,
    "status": "complete",
    "dateRange": _WEEK,
    "dataTypes": ["events"],
    "format": "jsonl",
    "compression": "gzip",
    "filters": {"contentIds": [], "eventTypes": [], "userCount": 0},
    "mode": "full",
    "createdAt": "2026-11-23T08:00:00Z",
    "progress": 100,
    "processedRows": 136524,
    "estimatedRowCount": 136524,
    "completedAt": "2026-11-23T08:00:07Z",
    "rowCount": 136524,
    "bytes": 5210347,
    "fileSize": "5.2MB",
    "expiresAt": "2026-11-30T08:00:07Z",
    "downloadUrl": _SIGNED.format(f"{JOB_ID}.jsonl.gz"),
    "manifestUrl": _SIGNED.format("manifest.json"),
    "files": [
        {
            "name": "events/part-00000.jsonl.gz",
            "dataType": "events",
            "rows": 136524,
            "bytes": 5210347,
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "firstTimestamp": "2026-11-16T00:00:03.120Z",
            "lastTimestamp": "2026-11-22T23:59:58.407Z",
            "url": _SIGNED.format("events/part-00000.jsonl.gz"),
        }
    ],
}
_LISTED = {
    **{name: _COMPLETE[name] for name in ("jobId", "status", "dateRange", "format", "fileSize")},
    **{name: _COMPLETE[name] for name in ("createdAt", "completedAt")},
}
_ACCESS: dict[str, Any] = {
    **_COMPLETE,
    "jobId": ACCESS_ID,
    "dateRange": {"start": "2026-08-25", "end": "2026-11-23"},
    "dataTypes": ["events", "quality", "ads"],
    "compression": "none",
    "filters": {"contentIds": [], "eventTypes": [], "userCount": 1},
    "rowCount": 1028,
    "processedRows": 1028,
    "estimatedRowCount": 1028,
    "bytes": 40326,
    "fileSize": "40KB",
    "withheld": 12,
    "downloadUrl": _SIGNED.format(f"{ACCESS_ID}.zip"),
    "files": [],
}
_ERASURE = {"requestId": ERASURE_ID, "status": "queued", "dueAt": "2026-12-23T08:00:00Z"}
_EXAMPLES: dict[type[BaseModel], dict[str, Any]] = {
    Created: {
        "jobId": JOB_ID,
        "status": "queued",
        "estimatedSize": "5.2MB",
        "estimatedRowCount": 136524,
        "estimatedCompletion": "2026-11-23T08:00:08Z",
        "createdAt": "2026-11-23T08:00:00Z",
    },
    Status: _COMPLETE,
    AccessCreated: {"jobId": ACCESS_ID, "status": "queued", "createdAt": "2026-11-23T08:00:00Z"},
    AccessStatus: _ACCESS,
    ErasuresCreated: {"requests": [_ERASURE], **_ERASURE},
    ErasureStatus: {
        **_ERASURE,
        "status": "complete",
        "createdAt": "2026-11-23T08:00:00Z",
        "rowsRemoved": {"engagement_events": 1028, "device_links": 2, "exports": 412},
        "idsReplaced": {"engagement_events": 3},
        "endedAt": "2026-11-23T08:00:41Z",
        "certificateUrl": f"http://localhost:8000/v1/users/erasures/{ERASURE_ID}/certificate",
    },
    Listed: _LISTED,
    Cancelled: {"jobId": JOB_ID, "status": "cancelled"},
}


def responses(
    answers: dict[int, type[BaseModel]], *refused: int, paged: bool = False
) -> dict[int | str, Any]:
    """The answers of a call: its own in their envelope, and the errors it may end in."""
    wrapper: Any = Page if paged else Envelope
    return {
        **{
            status: {
                "model": wrapper[shape],
                "description": (shape.__doc__ or "").split("\n")[0],
                "content": {"application/json": {"example": _example(shape, paged)}},
                "headers": {
                    name: {"description": text, "schema": {"type": "string"}, "example": example}
                    for name, (text, example) in _RATE_HEADERS.items()
                },
            }
            for status, shape in answers.items()
        },
        **refusals(*refused),
    }


def _example(shape: type[BaseModel], paged: bool) -> dict[str, Any]:
    meta: dict[str, Any] = {"requestId": REQUEST_ID}
    data = getattr(shape, "example", None) or _EXAMPLES[shape]
    if paged:
        return {"data": [data], "meta": {**meta, "total": 42, "nextCursor": "41"}}
    return {"data": data, "meta": meta}


def certificate() -> dict[str, Any]:
    """The answer that is a certificate, as it was signed."""
    content = {"schema": {"type": "object"}, "example": {"requestId": ERASURE_ID, "signature": "Zm9v"}}
    return {"description": "The certificate, as it was signed", "content": {"application/json": content}}


def refusals(*refused: int) -> dict[int | str, Any]:
    """The errors that a call may end in."""
    return {status: _refusal(status) for status in refused}


def _refusal(status: int) -> dict[str, Any]:
    description, field, message = _MEANINGS[status]
    code = next(code for code, known in STATUS_OF.items() if known == status)
    example = {
        "error": {"code": code, "message": message, "details": {"field": field, "reason": message}},
        "meta": {"requestId": REQUEST_ID},
    }
    return {
        "model": Refusal,
        "description": description,
        "content": {"application/json": {"example": example}},
    }


def downloads() -> dict[int | str, Any]:
    """The answers of a download."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    kinds = ("application/gzip", "application/x-ndjson", "text/csv", "application/zip", "application/json")
    content = dict.fromkeys(kinds, binary)
    return {
        200: {"description": "The file", "content": content},
        206: {"description": "The part of the file that `Range` asked for", "content": content},
        307: {
            "description": "The bytes come from the object store: `Location` is a URL of it that is good for "
            "minutes, for the same `Range`. Use the signed URL anew to resume later",
            "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
        },
        304: {"description": "The file is the one whose `ETag` was given in `If-None-Match`"},
        416: {"description": "The file has no such part; `Content-Range` says how long it is"},
        **{status: _refusal(status) for status in (400, 403, 404, 409, 410, 500, 503)},
    }


def body(shape: type[BaseModel], examples: dict[str, Any], required: bool = True) -> dict[str, Any]:
    """The body of a call."""
    schema = shape.model_json_schema(ref_template="#/components/schemas/{model}")
    return {
        "requestBody": {
            "required": required,
            "content": {"application/json": {"schema": _inlined(schema), "examples": examples}},
        }
    }


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its definitions where they are used, as the body's schema is no component."""
    definitions = schema.pop("$defs", {})

    def resolve(value: Any) -> Any:
        if isinstance(value, dict):
            if reference := value.get("$ref"):
                return resolve(definitions[reference.rsplit("/", 1)[-1]])
            return {key: resolve(item) for key, item in value.items()}
        return [resolve(item) for item in value] if isinstance(value, list) else value

    resolved = resolve(schema)
    assert isinstance(resolved, dict)
    return resolved
