"""What a page says of what was just done, once: from the form to the page that it leads to.

In between it is in a cookie for that page, as a word that the page knows, so that no address that somebody
passes on can say it.
"""

from collections.abc import Mapping
from datetime import timedelta

from fastapi import Request
from starlette.responses import Response

from export_pipeline.portal import guards
from export_pipeline.portal.pages import to

COOKIE = "export_pipeline_said"
LIFETIME = timedelta(minutes=1)
"""How long the page may take to be asked for."""


def say_at(request: Request, path: str, word: str) -> Response:
    """Go on at a page of the portal, which can ``take`` the word."""
    keep(request, path, word)
    return to(request, path)


def keep(request: Request, path: str, word: str) -> None:
    """Give a word with the answer, for a page of the portal to ``take``."""
    guards.add_cookie(request, COOKIE, word, f"{request.scope['root_path']}{path}", LIFETIME)


def take(request: Request, words: Mapping[str, str]) -> str:
    """What the page of a request says, the first time it is asked for; empty if nothing."""
    given = request.cookies.get(COOKIE)
    if not given:
        return ""
    guards.add_cookie(request, COOKIE, "", request.scope["path"], timedelta())
    return words.get(given, "")
