"""The application: routes, layers around them, and which exception becomes which answer."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from export_pipeline.api import downloads, erasures, exports, health, schedules, users, webhooks
from export_pipeline.api.access import Access
from export_pipeline.api.bodies import BodyLimit
from export_pipeline.api.deployment import Deployment
from export_pipeline.api.envelopes import refusal
from export_pipeline.api.metrics import Metrics
from export_pipeline.api.page import page
from export_pipeline.api.rates import RateLimiter
from export_pipeline.errors import InvalidRequest, NotFound
from export_pipeline.failures import FAILURES, answer_to
from export_pipeline.given import shown
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store

_OUTSIDE = ("greater_than_equal", "less_than_equal")
MODULES = (exports, schedules, users, erasures, webhooks, downloads, health)
TITLE = "Analytics exports"
DESCRIPTION = """
Ask for a range of days with `POST /v1/analytics/export`, look at the job until it is `complete`, and
download `downloadUrl`: one file, resumable. Times are UTC, days are included at both ends.

Every answer is `{"data": …, "meta": {"requestId": …}}`, every error `{"error": {"code", "message",
"details": {"field", "reason"}}, "meta": …}`.
"""


def create_app(settings: Settings) -> FastAPI:
    """The API of the deployment that ``settings`` describe."""
    ledger = Ledger(settings)
    metrics = Metrics(ledger)
    app = FastAPI(title=TITLE, description=DESCRIPTION, version="1", docs_url=None, redoc_url=None)
    app.state.deployment = Deployment(
        settings, Store(settings), ledger, metrics, RateLimiter(settings.rate_limit)
    )
    for module in MODULES:
        app.include_router(module.router)
    app.add_middleware(BodyLimit, most=settings.body_bytes)
    app.add_middleware(Access, metrics=metrics)
    for kind in FAILURES:
        app.add_exception_handler(kind, _told)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _unrouted)
    app.add_route("/docs", lambda _: HTMLResponse(page(app.openapi())), include_in_schema=False)
    described = app.openapi
    app.openapi = lambda: _document(described())  # type: ignore[method-assign]
    return app


def _told(request: Request, error: Exception) -> Response:
    told = answer_to(error)
    if told is None:
        raise error
    return refusal(request, told)


def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    told = "missing" if first["type"] == "missing" else shown(first["input"])
    if first["type"] in _OUTSIDE:
        told = str(first["input"])  # a number, as it was read as one
    return refusal(request, InvalidRequest(f"{field} is {told}; {_right(first)}", field=field))


def _right(problem: dict[str, Any]) -> str:
    message: str = problem["msg"]
    return message.replace("Input should", "it must").replace("String should", "it must")


def _unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        told = InvalidRequest(f"{request.method} is not a method of this path; the Allow header lists them")
        response = refusal(request, told, 405)
        response.headers["Allow"] = (error.headers or {}).get("Allow", "")
        return response
    return refusal(request, NotFound("there is no such path; /docs lists them"))


def _document(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document without the answer that FastAPI would give to malformed parameters, and with
    examples as they are: FastAPI leaves out what is null in them."""
    for path in document["paths"].values():
        for operation in path.values():
            schema = _at(operation, ("responses", "422", "content", "application/json", "schema", "$ref"))
            if schema and schema.endswith("HTTPValidationError"):
                del operation["responses"]["422"]
    for route in (route for module in MODULES for route in module.router.routes):
        if isinstance(route, APIRoute) and route.include_in_schema:
            for status, answer in route.responses.items():
                if example := _at(answer, ("content", "application/json", "example")):
                    for method in route.methods or ():
                        operation = document["paths"][route.path_format][method.lower()]
                        operation["responses"][str(status)]["content"]["application/json"]["example"] = (
                            example
                        )
    for name in ("HTTPValidationError", "ValidationError"):
        document.get("components", {}).get("schemas", {}).pop(name, None)
    return document


def _at(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
