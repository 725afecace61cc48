"""Secrets that are shown once: from the form that makes one to the page that shows it.

In between the secret is in a cookie, sealed, for that page and the visitor's session alone. So the page can
be loaded again without making another secret, and any process of the deployment can show it.
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography.fernet import InvalidToken
from fastapi import Request
from starlette.responses import Response

from export_pipeline.api.deployment import deployment
from export_pipeline.days import utc_now
from export_pipeline.ledger.sealing import Seal
from export_pipeline.portal import guards
from export_pipeline.portal.pages import to

COOKIE = "export_pipeline_once"
LIFETIME = timedelta(minutes=5)
"""How long the page may take to be asked for."""


@dataclass(frozen=True)
class Shown:
    """A secret, and what is told of it beside that it is not shown again."""

    secret: str = field(repr=False)
    note: str = ""


def show_at(request: Request, path: str, shown: Shown) -> Response:
    """Go on at a page of the portal, which can ``take`` the secret."""
    page = _page(request, path)
    sealed = {"for": _visitor(request), "page": page, "at": utc_now().timestamp(), **asdict(shown)}
    guards.add_cookie(request, COOKIE, _seal(request).close(json.dumps(sealed)).decode(), page, LIFETIME)
    return to(request, path)


def take(request: Request) -> Shown | None:
    """The secret that the page of a request shows, the first time it is asked for; else None."""
    given = request.cookies.get(COOKIE)
    if not given:
        return None
    page = _page(request, request.scope["path"].removeprefix(request.scope["root_path"]))
    guards.add_cookie(request, COOKIE, "", page, timedelta())
    try:
        held = json.loads(_seal(request).open(given.encode("utf-8", "surrogatepass")))
    except InvalidToken:
        return None
    age = utc_now() - datetime.fromtimestamp(held["at"], UTC)
    if (held["for"], held["page"]) != (_visitor(request), page) or not timedelta() <= age < LIFETIME:
        return None
    return Shown(held["secret"], held["note"])


def _page(request: Request, path: str) -> str:
    return f"{request.scope['root_path']}{path.partition('?')[0]}"


def _visitor(request: Request) -> str:
    known = guards.current(request)
    return known.form_token if known else ""


def _seal(request: Request) -> Seal:
    return Seal(deployment(request).settings, guards.SECRET)
