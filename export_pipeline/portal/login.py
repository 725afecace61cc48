"""Logging in, by password or by a link that works once, and logging out."""

from ipaddress import ip_address, ip_network
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from export_pipeline.api.deployment import deployment
from export_pipeline.api.rates import RateLimiter
from export_pipeline.days import utc_now
from export_pipeline.errors import ExportPipelineError, InvalidRequest, RateLimited, Unauthorized
from export_pipeline.portal import passwords, saying
from export_pipeline.portal.auditing import address, note
from export_pipeline.portal.forms import Form, form_of
from export_pipeline.portal.guards import (
    LINK,
    PASSWORD,
    PROXY,
    Visitor,
    clean_name,
    end_session,
    open_session,
    visitor,
)
from export_pipeline.portal.pages import local_path, page, to

ATTEMPTS_A_MINUTE = 10
"""From one address; after that even the right password is refused for the rest of the minute."""
ENDED, FORM_LOST = "ended", "form-lost"
_SAID = {
    ENDED: "Your session has ended. Log in to go on.",
    FORM_LOST: "Your session had ended, so what you sent was not done. Log in, and send it again.",
}
router = APIRouter()

Anybody = Annotated[Visitor, Depends(visitor)]
GivenForm = Annotated[Form, Depends(form_of)]


@router.get("/login")
def show(request: Request, known: Anybody, next: str = "/") -> Response:
    """The form to log in; who is logged in goes on."""
    if known.session is not None:
        return to(request, local_path(next))
    return _page(request, Form(), local_path(next), said=saying.take(request, _SAID))


@router.post("/login")
def log_in(request: Request, known: Anybody, form: GivenForm) -> Response:
    """Open a session for who knows the password."""
    settings = deployment(request).settings
    following = local_path(form.text("next"))
    try:
        who = clean_name(form.text("name"))
        if not who:
            raise InvalidRequest("Enter your name; the log of activity shows who did what.", field="name")
        _count(request)
        if not passwords.is_right(settings, form.raw("password")):
            # Without the name, as nobody has shown that it is theirs.
            note(request, "was refused: wrong password", how=PASSWORD)
            raise Unauthorized("The password is not right.", field="password")
    except ExportPipelineError as error:
        return _page(request, form, following, error)
    open_session(request, who, PASSWORD)
    note(request, "logged in")
    return to(request, following)


@router.get("/enter")
def enter(request: Request, known: Anybody, token: str = "") -> Response:
    """Open a session for who has a link that was not used yet."""
    if known.session is not None:
        return to(request, "/")
    _count(request)
    if not deployment(request).ledger.sessions.follow_link(token, utc_now()):
        error = Unauthorized(
            "This link was used or is too old. Log in with the password, or ask for a new link."
        )
        return _page(request, Form(), "/", error)
    open_session(request, "operator", LINK)
    note(request, "logged in")
    return to(request, "/")


@router.post("/logout")
def log_out(request: Request, known: Anybody) -> Response:
    """Close the session."""
    if known.session is not None and known.session.how != PROXY:
        note(request, "logged out")
        end_session(request, known)
    return to(request, "/login")


def _count(request: Request) -> None:
    limiter = request.app.state.attempts
    assert isinstance(limiter, RateLimiter)
    if limiter.count(_origin(address(request))).remaining < 0:
        raise RateLimited(
            f"More than {ATTEMPTS_A_MINUTE} attempts in a minute; wait a minute and try again.",
            retry_after=60,
        )


def _origin(text: str) -> str:
    """What attempts from an address count for: of IPv6 its /64, in which one machine has every address."""
    try:
        found = ip_address(text)
    except ValueError:
        return text
    return text if found.version == 4 else str(ip_network((found, 64), strict=False))


def _page(
    request: Request, form: Form, following: str, error: ExportPipelineError | None = None, said: str = ""
) -> Response:
    settings = deployment(request).settings
    status = 200 if error is None else {"VALIDATION_ERROR": 422, "RATE_LIMITED": 429}.get(error.code, 401)
    return page(
        request,
        "login.html",
        status,
        form=form.told(error) if error else form,
        next=following,
        said=said,
        has_password=passwords.has_password(settings),
        is_made=passwords.is_made(settings),
    )
