"""The portal as an application under ``/portal`` of the API's: its pages, and which exception becomes which
page."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from export_pipeline.api.envelopes import STATUS_OF, request_id
from export_pipeline.api.rates import RateLimiter
from export_pipeline.failures import FAILURES, answer_to, defect
from export_pipeline.portal import (
    activity,
    deliveries,
    exports,
    home,
    keys,
    login,
    overview,
    privacy,
    saying,
    schedules,
    status,
    webhooks,
)
from export_pipeline.portal.guards import LoginNeeded, TooLong
from export_pipeline.portal.headers import Headers
from export_pipeline.portal.held_totals import HeldTotals
from export_pipeline.portal.pages import PREFIX, STATIC, error_page, to_login
from export_pipeline.sizes import size

MODULES = (login, home, exports, overview, privacy, schedules, webhooks, deliveries, keys, status, activity)
_LOG = logging.getLogger("export_pipeline.portal")


def attach(api: FastAPI) -> FastAPI:
    """Put the portal under ``/portal`` of the API's application; that application."""
    portal = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    portal.state.deployment = api.state.deployment
    portal.state.attempts = RateLimiter(login.ATTEMPTS_A_MINUTE)
    portal.state.looking = status.Looking()
    portal.state.totals = HeldTotals()
    for module in MODULES:
        portal.include_router(module.router)
    portal.mount("/static", StaticFiles(directory=STATIC))
    is_secure = api.state.deployment.settings.public_url.startswith("https://")
    portal.add_middleware(Headers, failed=_failed, is_secure=is_secure)
    portal.add_exception_handler(LoginNeeded, _login_needed)
    portal.add_exception_handler(TooLong, _too_long)
    for kind in FAILURES:
        portal.add_exception_handler(kind, _told)
    portal.add_exception_handler(RequestValidationError, _malformed)
    portal.add_exception_handler(HTTPException, _unrouted)
    api.mount(PREFIX, portal)
    api.state.tells_too_long = f"{PREFIX}/"
    api.add_route("/", lambda _: RedirectResponse(f"{PREFIX}/", 307), include_in_schema=False)
    return api


def _login_needed(request: Request, _: Exception) -> Response:
    if request.headers.get("hx-request") or request.method != "GET":
        is_form = not request.headers.get("hx-request")
        saying.keep(request, "/login", login.FORM_LOST if is_form else login.ENDED)
    return to_login(request)


def _too_long(request: Request, error: Exception) -> Response:
    assert isinstance(error, TooLong)
    told = (
        f"What was sent is more than {size(error.most)}, the most that a form can hold; "
        "put fewer or shorter lines in its fields."
    )
    return error_page(request, 413, told)


def _told(request: Request, error: Exception) -> Response:
    told = answer_to(error)
    if told is None:
        raise error
    return error_page(request, STATUS_OF.get(told.code, 500), told.message)


def _malformed(request: Request, _: Exception) -> Response:
    return error_page(request, 404, "There is no such page.")


def _unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return error_page(request, 405, "This address is not for that; go to the page and use its form.")
    if error.status_code == 400:
        return error_page(
            request, 400, "This form cannot be read; go back to its page and send it from there."
        )
    return error_page(request, 404, "There is no such page.")


def _failed(request: Request, error: Exception) -> Response:
    _LOG.error("%s %s", request_id(request), defect(error))
    return error_page(request, 500, "This is a defect; the server's log has more under the request id.")
