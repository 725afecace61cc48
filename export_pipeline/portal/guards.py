"""Who asks for a page, and that a form is one of ours: the checks before every route of the portal.

A visitor has a cookie, a random token. It names a session once somebody has logged in, under a new token;
before, it names nothing and only ties the login form to the browser. Every form carries a keyed hash of the
token, and every POST is refused without it, here and nowhere else.
"""

import hashlib
import hmac
import re
import secrets as random
from dataclasses import dataclass
from datetime import timedelta
from http.cookies import SimpleCookie
from ipaddress import ip_address
from typing import Annotated, cast

from fastapi import Depends, Request
from starlette.datastructures import FormData

from export_pipeline import secrets
from export_pipeline.api.deployment import deployment
from export_pipeline.days import utc_now
from export_pipeline.errors import Forbidden
from export_pipeline.ledger.sessions import Session

COOKIE = "export_pipeline_portal"
FORM_TOKEN = "formToken"
PASSWORD, LINK, PROXY = "password", "link", "proxy"
"""How somebody can have logged in."""
SECRET = "portal"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_NAME_LENGTH = 80


class LoginNeeded(Exception):
    """The page is for who is logged in."""


class TooLong(Exception):
    """The form has more bytes than the most allowed, which it is made with."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


@dataclass(frozen=True)
class Visitor:
    """Who asks: ``form_token`` belongs in every form of the answer."""

    token: str
    form_token: str
    session: Session | None


async def read_form(request: Request) -> FormData:
    """The form of a POST; empty for other requests, and where the body was too long."""
    if request.method == "POST" and not getattr(request.state, "too_long", 0):
        return await request.form()
    return FormData()


def visitor(request: Request, form: Annotated[FormData, Depends(read_form)]) -> Visitor:
    """Who asks; for pages that are for everybody.

    Raises:
        Forbidden: if a form was sent that is none of ours for this visitor.
        TooLong: if its body was.
    """
    given = request.cookies.get(COOKIE, "")
    token = given if _TOKEN.fullmatch(given) else ""
    used = not (request.method == "GET" and request.headers.get("hx-request"))
    session = deployment(request).ledger.sessions.find(token, utc_now(), used) if token else None
    name = proxy_user(request)
    if session is not None and session.how == PROXY and session.who != name:
        session = None
    known = Visitor(token, _form_token(request, token), session) if token else None
    if most := getattr(request.state, "too_long", 0):
        request.state.visitor = known
        raise TooLong(most)
    if request.method not in ("GET", "HEAD"):
        _check_form(request, form, known)
    if session is None and name:
        known = open_session(request, name, PROXY)
    elif known is None:
        token = random.token_urlsafe(32)
        known = Visitor(token, _form_token(request, token), None)
        set_cookie(request, token)
    request.state.visitor = known
    return known


def member(request: Request, known: Annotated[Visitor, Depends(visitor)]) -> Visitor:
    """Who asks, for all other pages.

    Raises:
        LoginNeeded: if nobody is logged in.
    """
    if known.session is None:
        raise LoginNeeded
    return known


def current(request: Request) -> Visitor | None:
    """The visitor of a request, as far as it was found out."""
    return cast("Visitor | None", getattr(request.state, "visitor", None))


def open_session(request: Request, who: str, how: str) -> Visitor:
    """Log somebody in under a new token; the one before opens nothing any more."""
    here, now = deployment(request), utc_now()
    if before := request.cookies.get(COOKIE):
        here.ledger.sessions.end(before)
    token = here.ledger.sessions.begin(who, how, now)
    set_cookie(request, token)
    known = Visitor(token, _form_token(request, token), Session(who, how, now, now))
    request.state.visitor = known
    return known


def end_session(request: Request, known: Visitor) -> None:
    """Log a visitor out."""
    deployment(request).ledger.sessions.end(known.token)
    set_cookie(request, "")
    request.state.visitor = None


def set_cookie(request: Request, token: str) -> None:
    """Give the visitor a token with the answer; an empty one takes it away."""
    add_cookie(request, COOKIE, token, request.scope["root_path"], None if token else timedelta())


def add_cookie(request: Request, name: str, value: str, path: str, lifetime: timedelta | None) -> None:
    """Give a cookie with the answer, instead of what this name was given before.

    Args:
        path: the path, with the portal's, from which on down it is sent.
        lifetime: None: until the browser is closed; zero takes the cookie away.
    """
    public = deployment(request).settings.public_url
    cookie: SimpleCookie = SimpleCookie({name: value})
    cookie[name].update({"path": path, "samesite": "Lax"})
    cookie[name]["httponly"] = True
    if request.url.scheme == "https" or public.startswith("https://"):
        cookie[name]["secure"] = True
    if lifetime is not None:
        cookie[name]["max-age"] = round(lifetime.total_seconds())
    held = getattr(request.state, "cookies", {})
    request.state.cookies = {**held, name: cookie[name].OutputString()}


def proxy_user(request: Request) -> str:
    """Who a proxy that is believed says is logged in; empty if there is none."""
    settings = deployment(request).settings
    if not settings.portal_user_header:
        return ""
    peer = request.scope.get("peer")
    try:
        address = ip_address(peer[0] if peer else "")
    except ValueError:
        return ""
    if not any(address.version == net.version and address in net for net in settings.proxies):
        return ""
    given = request.headers.getlist(settings.portal_user_header)
    return clean_name(given[0]) if len(given) == 1 else ""


def clean_name(text: str) -> str:
    """A person's name as it is noted: printable, in one line, not too long."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_NAME_LENGTH]


def _check_form(request: Request, form: FormData, known: Visitor | None) -> None:
    given = form.get(FORM_TOKEN)
    foreign = request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
    if (
        foreign
        or known is None
        or not isinstance(given, str)
        or not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), known.form_token.encode())
    ):
        raise Forbidden("This form was not made for you, or you have logged out since. Open its page again.")


def _form_token(request: Request, token: str) -> str:
    key = secrets.key(deployment(request).settings, SECRET)
    return hmac.new(key, f"form\n{token}".encode(), hashlib.sha256).hexdigest()
