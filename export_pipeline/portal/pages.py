"""Pages from templates: what every one of them is given, and how values look in them."""

import hashlib
import re
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from export_pipeline.api.envelopes import RETRY_SECONDS, STATUS_OF, request_id
from export_pipeline.errors import ExportPipelineError
from export_pipeline.portal import guards, sections
from export_pipeline.portal.labels import label, labels
from export_pipeline.sizes import counted, size

PREFIX = "/portal"
STATIC = Path(__file__).parent / "static"
_TEMPLATES = Path(__file__).parent / "templates"


def page(request: Request, template: str, code: int = 200, **values: Any) -> Response:
    """A page, or with htmx a part of one.

    Args:
        code: the answer's HTTP status.
        values: what the template is given beside ``root`` (the portal's path), ``session``, ``form_token``,
            ``sections`` and ``path``.
    """
    known = guards.current(request)
    text = (
        _templates()
        .get_template(template)
        .render(
            root=request.scope["root_path"],
            path=request.scope["path"].removeprefix(request.scope["root_path"]),
            session=known.session if known else None,
            form_token=known.form_token if known else "",
            sections=sections.SECTIONS,
            **values,
        )
    )
    return HTMLResponse(text, code)


def part(request: Request, template: str, shown: str, now: str, **values: Any) -> Response:
    """A part of a page that asks for itself again; nothing if it is as it is shown.

    Args:
        shown, now: what tells how it is from how it was, as it was when it was asked for last and as it is.
    """
    return Response(status_code=204) if shown == now else page(request, template, now=now, **values)


def error_page(request: Request, status: int, message: str) -> Response:
    """A page that says what went wrong."""
    answer = page(
        request, "error.html", status, status=status, message=message, request_id=request_id(request)
    )
    if status in (429, 503):
        answer.headers["Retry-After"] = str(RETRY_SECONDS)
    return answer


def to(request: Request, path: str) -> Response:
    """Go on at another page of the portal, as after every form."""
    return RedirectResponse(request.scope["root_path"] + path, 303)


def code_of(error: ExportPipelineError, is_form: bool = False) -> int:
    """The HTTP status of a page that tells of an error; ``is_form``: beside the field it is about."""
    return 422 if is_form and error.field else STATUS_OF.get(error.code, 500)


def to_login(request: Request) -> Response:
    """Log in first, and come back to the page that was looked at."""
    root = request.scope["root_path"]
    came = _came_from(request, root)
    there = f"{root}/login" + (f"?next={quote(came, safe='')}" if came != "/" else "")
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"HX-Redirect": there})
    return RedirectResponse(there, 303)


def _came_from(request: Request, root: str) -> str:
    """The page, as a path below the portal's, from which a request comes; after a form, of its section."""
    path = request.scope["path"].removeprefix(root)
    if request.headers.get("hx-request"):
        there = urlsplit(request.headers.get("hx-current-url", ""))
        path = there.path.removeprefix(root)
        return local_path(f"{path}?{there.query}" if there.query else path)
    if request.method == "GET":
        return f"{path}?{request.url.query}" if request.url.query else path
    links = (link.path for section in sections.SECTIONS for link in section.links)
    return next((link for link in links if path == link or path.startswith(f"{link}/")), "/")


def local_path(text: str) -> str:
    """``text`` if it is a path inside the portal, else the portal's first page."""
    plain = text.isascii() and text.isprintable() and "\\" not in text
    return text if plain and text.startswith("/") and not text.startswith("//") else "/"


def instant(value: datetime | None) -> str:
    """An instant for people, in UTC to the minute."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}" if value else "–"


def machine_instant(value: datetime) -> str:
    """An instant as the ``datetime`` of a ``<time>``."""
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _spaced(name: str) -> str:
    """A name of the product's in words, such as ``daily exports`` for ``dailyExports``."""
    return re.sub(r"(?<=[a-z])[A-Z]", lambda found: f" {found[0].lower()}", name).replace("_", " ")


@lru_cache
def static_path(name: str) -> str:
    """The path of a static file below the portal, which changes when its content does."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()
    return f"/static/{name}?v={digest[:12]}"


@lru_cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "size": size,
        "counted": counted,
        "instant": instant,
        "machine_instant": machine_instant,
        "label": label,
        "labels": labels,
        "spaced": _spaced,
        "number": lambda value: f"{value:,}",
    }
    environment.globals["static"] = static_path
    return environment
