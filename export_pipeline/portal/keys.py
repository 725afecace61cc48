"""Settings → API keys: made, shown once, revoked."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from export_pipeline import ids
from export_pipeline.api.deployment import deployment
from export_pipeline.days import utc_now
from export_pipeline.errors import Conflict, ExportPipelineError
from export_pipeline.portal import once, saying
from export_pipeline.portal.auditing import note
from export_pipeline.portal.export_form import Option
from export_pipeline.portal.forms import Form, form_of
from export_pipeline.portal.guards import member
from export_pipeline.portal.onceshown import Shown, show_at, take
from export_pipeline.portal.pages import code_of, page
from export_pipeline.portal.slices import Number, sliced

router = APIRouter(prefix="/keys", dependencies=[Depends(member)])

_SCOPES = (
    Option("exports:read", "exports:read", "look at exports and download them"),
    Option("exports:write", "exports:write", "ask for exports, cancel, schedule"),
    Option("privacy", "privacy", "get and erase a person's data"),
    Option("webhooks", "webhooks", "set up endpoints, see deliveries"),
)
_DONE = {
    "known": "The key was made before; it is not shown again.",
    "revoked-before": "The key was revoked before.",
    "revoked": "The key is revoked: the next request with it is refused.",
}

GivenForm = Annotated[Form, Depends(form_of)]


@router.get("")
def show(request: Request, part: Number = 1) -> Response:
    """The keys, and the form of a new one; one that was just made, this once."""
    form = Form({"scopes": ["exports:read"]})
    return _page(request, form, part, said=saying.take(request, _DONE), shown=take(request))


@router.post("")
def make(request: Request, form: GivenForm) -> Response:
    """Make a key, and go on to the page that shows it."""
    try:
        key, text = deployment(request).ledger.keys.create(
            form.all("scopes"), utc_now(), form.text("name"), once.id_from(request, form, ids.KEY)
        )
    except Conflict:
        return saying.say_at(request, "/keys", "known")
    except ExportPipelineError as error:
        none = ExportPipelineError("Choose at least one thing that the key may do.", field="scope")
        told = error if form.all("scopes") else none
        return _page(request, form.told(told, {"scope": "scopes"}), code=code_of(told, is_form=True))
    note(request, "made an API key", key.id)
    return show_at(request, "/keys", Shown(text))


@router.post("/{key_id}/revoke")
def revoke(request: Request, key_id: str) -> Response:
    """End a key."""
    try:
        key = deployment(request).ledger.keys.revoke(key_id, utc_now())
    except Conflict:
        return saying.say_at(request, "/keys", "revoked-before")
    note(request, "revoked an API key", key.id)
    return saying.say_at(request, "/keys", "revoked")


def _page(
    request: Request,
    form: Form,
    part: int = 1,
    *,
    said: str = "",
    shown: Shown | None = None,
    code: int = 200,
) -> Response:
    return page(
        request,
        "keys.html",
        code,
        form=form,
        once=once.given(form),
        scopes=_SCOPES,
        keys=sliced(deployment(request).ledger.keys.list(), part),
        said=said,
        shown=shown,
    )
