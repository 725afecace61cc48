"""Envelopes: how answers and errors are wrapped, and which status an error has (contract, section 4)."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from export_pipeline.errors import ExportPipelineError

STATUS_OF = {
    "VALIDATION_ERROR": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "CONFLICT": 409,
    "GONE": 410,
    "OUTSIDE_RETENTION": 422,
    "RATE_LIMITED": 429,
    "INTERNAL_ERROR": 500,
    "SERVICE_UNAVAILABLE": 503,
}
RETRY_SECONDS = 5
"""After how long something unavailable is worth another try."""


def answer(
    request: Request,
    data: Any,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **meta: Any,
) -> Response:
    """``data`` in its envelope; ``meta`` is added to the request id."""
    return _json({"data": data, "meta": {"requestId": request_id(request), **meta}}, status, headers)


def refusal(request: Request, error: ExportPipelineError, status: int | None = None) -> Response:
    """An error in its envelope, with the headers that belong to it."""
    code = error.code if error.code in STATUS_OF else "INTERNAL_ERROR"
    status = STATUS_OF[code] if status is None else status
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 429:
        headers["Retry-After"] = str(getattr(error, "retry_after", RETRY_SECONDS))
    if status == 503:
        headers["Retry-After"] = str(RETRY_SECONDS)
    document = {
        "error": {
            "code": code,
            "message": error.message,
            "details": {"field": error.field, "reason": error.message},
        },
        "meta": {"requestId": request_id(request)},
    }
    return _json(document, status, headers)


def request_id(request: Request) -> str:
    """The id of a request, which ``access`` gave it."""
    return str(request.state.request_id)


def _json(document: Any, status: int, headers: Mapping[str, str] | None) -> Response:
    content = json.dumps(document, separators=(",", ":")).encode()
    return Response(content, status, dict(headers or {}), media_type="application/json")
