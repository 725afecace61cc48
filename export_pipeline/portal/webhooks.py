"""Settings → Webhooks: endpoints, and what was delivered to them."""

import hashlib
import hmac
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.exc import IntegrityError
from starlette.responses import Response

from export_pipeline import ids, secrets
from export_pipeline.api.deployment import deployment
from export_pipeline.days import utc_now
from export_pipeline.delivery.endpoints import change, check_event, create
from export_pipeline.delivery.outbox import Courier
from export_pipeline.errors import ExportPipelineError, NotFound
from export_pipeline.ledger.posting import (
    EVENTS,
    EXPORT_FAILED,
    EXPORT_READY,
    EXPORT_RESTATED,
    STATES,
    USER_ERASED,
)
from export_pipeline.ledger.webhooks import ACTIVE, DISABLED, Webhook
from export_pipeline.portal import once, saying
from export_pipeline.portal.auditing import note
from export_pipeline.portal.export_form import Option
from export_pipeline.portal.forms import Form, form_of
from export_pipeline.portal.guards import SECRET, member
from export_pipeline.portal.onceshown import Shown, show_at, take
from export_pipeline.portal.pages import code_of, instant, page, to

router = APIRouter(prefix="/webhooks", dependencies=[Depends(member)])

_NOTES = {
    EXPORT_READY: "files can be downloaded",
    EXPORT_FAILED: "an export came to nothing",
    EXPORT_RESTATED: "late data or an erasure changed files",
    USER_ERASED: "a person was taken out of files",
}
_EVENTS = tuple(Option(event, event, _NOTES[event]) for event in EVENTS)
_DONE = {
    "known": "The webhook was made before; its secret is not shown again. Rotate it to have a new one.",
    "changed": "The changes are saved.",
    ACTIVE: "It is active: messages are sent there.",
    DISABLED: "It is disabled: nothing is sent there, and what waited has failed and can be retried.",
    "rotated": "The secret was rotated a moment ago; the new one was shown then.",
    "deleted": "The webhook and the log of its deliveries are deleted.",
    "gone": "The webhook was deleted before.",
}

GivenForm = Annotated[Form, Depends(form_of)]
Cursor = Annotated[str | None, Query(pattern="^[0-9]{1,18}$")]
State = Literal["pending", "success", "failed"] | None


@router.get("")
def show(request: Request, cursor: Cursor = None) -> Response:
    """All endpoints, newest first."""
    ledger = deployment(request).ledger
    found, following, _ = ledger.webhooks.list(cursor=cursor)
    return page(
        request,
        "webhooks.html",
        webhooks=found,
        stats=ledger.messages.stats(webhook.id for webhook in found),
        following=following,
        is_first=cursor is None,
        said=saying.take(request, _DONE),
    )


@router.get("/new")
def new(request: Request) -> Response:
    """The form of a new one."""
    return _form(request, Form({"events": [EXPORT_READY, EXPORT_FAILED]}), None)


@router.post("")
def make(request: Request, form: GivenForm) -> Response:
    """Make one, and go on to it, where its secret is shown this once."""
    here = deployment(request)
    webhook_id = once.id_from(request, form, ids.WEBHOOK)
    try:
        if not _is_known(request, webhook_id):
            made, secret = create(here.settings, here.ledger, _asked(form), utc_now(), webhook_id)
            note(request, "made a webhook", made.id)
            return show_at(request, f"/webhooks/{made.id}", Shown(secret))
    except IntegrityError:
        pass  # made by the same form a moment ago
    except ExportPipelineError as error:
        return _form(request, form.told(error), None, code_of(error, is_form=True))
    return saying.say_at(request, f"/webhooks/{webhook_id}", "known")


@router.get("/{webhook_id}")
def one(request: Request, webhook_id: str, cursor: Cursor = None, state: State = None) -> Response:
    """An endpoint and its deliveries."""
    found = deployment(request).ledger.webhooks.get(webhook_id)
    return _page(
        request, found, cursor=cursor, state=state, said=saying.take(request, _DONE), shown=take(request)
    )


@router.get("/{webhook_id}/edit")
def edit(request: Request, webhook_id: str) -> Response:
    """The form with what it is now."""
    found = deployment(request).ledger.webhooks.get(webhook_id)
    values = {"url": [found.url], "events": found.events, "description": [found.description]}
    return _form(request, Form(values), found)


@router.post("/{webhook_id}/edit")
def save(request: Request, webhook_id: str, form: GivenForm) -> Response:
    """Change it."""
    here = deployment(request)
    before = here.ledger.webhooks.get(webhook_id)
    try:
        change(here.settings, here.ledger, before.id, _asked(form), utc_now())
    except ExportPipelineError as error:
        return _form(request, form.told(error), before, code_of(error, is_form=True))
    note(request, "changed a webhook", before.id)
    return saying.say_at(request, f"/webhooks/{before.id}", "changed")


@router.post("/{webhook_id}/status")
def set_status(request: Request, webhook_id: str, form: GivenForm) -> Response:
    """Disable it, or make it active again."""
    here = deployment(request)
    status = ACTIVE if form.text("status") == ACTIVE else DISABLED
    change(here.settings, here.ledger, webhook_id, {"status": status}, utc_now())
    note(request, f"set a webhook to {status}", webhook_id)
    return saying.say_at(request, f"/webhooks/{webhook_id}", f"{status}")


@router.post("/{webhook_id}/rotate")
def rotate(request: Request, webhook_id: str, form: GivenForm) -> Response:
    """Make a new secret, and go on to the endpoint, where it is shown this once. The same form sent twice
    makes one."""
    ledger = deployment(request).ledger
    found = ledger.webhooks.get(webhook_id)
    if form.text("instead") not in ("", _mark(request, found.id)):
        return saying.say_at(request, f"/webhooks/{found.id}", "rotated")
    try:
        secret, until = ledger.webhooks.rotate(found.id, utc_now())
    except ExportPipelineError as error:
        return _page(request, found, problem=error.message, code=code_of(error))
    note(request, "rotated the secret of a webhook", found.id)
    told = f"Until {instant(until)} UTC messages are signed with the secret before too."
    return show_at(request, f"/webhooks/{found.id}", Shown(secret, told))


@router.post("/{webhook_id}/test")
def test(request: Request, webhook_id: str, form: GivenForm) -> Response:
    """Send a test message, and go on to what became of it."""
    here = deployment(request)
    found = here.ledger.webhooks.get(webhook_id)
    try:
        event = check_event(form.text("event"))
    except ExportPipelineError as error:
        return _page(request, found, problem=error.message, code=422)
    message = Courier(here.settings, here.ledger).test(
        found.id, event, once.id_from(request, form, ids.DELIVERY)
    )
    note(request, "sent a test to a webhook", found.id)
    return to(request, f"/webhooks/{found.id}/deliveries/{message.id}")


@router.post("/{webhook_id}/delete")
def delete(request: Request, webhook_id: str) -> Response:
    """Delete it and the log of its deliveries."""
    ledger = deployment(request).ledger
    try:
        found = ledger.webhooks.get(webhook_id)
    except NotFound:
        return saying.say_at(request, "/webhooks", "gone")
    try:
        ledger.webhooks.remove(found.id)
    except ExportPipelineError as error:
        return _page(request, found, problem=error.message, code=code_of(error))
    note(request, "deleted a webhook", found.id)
    return saying.say_at(request, "/webhooks", "deleted")


def _page(
    request: Request,
    found: Webhook,
    *,
    cursor: str | None = None,
    state: State = None,
    said: str = "",
    problem: str = "",
    shown: Shown | None = None,
    code: int = 200,
) -> Response:
    ledger = deployment(request).ledger
    listed, following, _ = ledger.messages.list(found.id, status=state, cursor=cursor)
    attempts = ledger.messages.attempts(message.id for message in listed)
    return page(
        request,
        "webhook.html",
        code,
        webhook=found,
        stats=ledger.messages.stats([found.id])[found.id],
        deliveries=[(message, next(reversed(attempts[message.id]), None)) for message in listed],
        following=following,
        is_first=cursor is None,
        state=state,
        states=STATES,
        events=_EVENTS,
        once=once.given(Form()),
        mark=_mark(request, found.id),
        said=said,
        problem=problem,
        shown=shown,
    )


def _form(request: Request, form: Form, before: Webhook | None, code: int = 200) -> Response:
    return page(
        request,
        "webhook_form.html",
        code,
        form=form,
        before=before,
        once=once.given(form),
        events=_EVENTS,
    )


def _asked(form: Form) -> dict[str, object]:
    return {
        "url": form.text("url"),
        "events": list(form.all("events")),
        "description": form.text("description"),
    }


def _mark(request: Request, webhook_id: str) -> str:
    """What tells the secret of now from those before and after, and nothing else of it."""
    here = deployment(request)
    secret = here.ledger.webhooks.target(webhook_id, utc_now()).secret
    key = secrets.key(here.settings, SECRET)
    return hmac.new(key, f"rotate\n{secret}".encode(), hashlib.sha256).hexdigest()[:32]


def _is_known(request: Request, webhook_id: str) -> bool:
    try:
        deployment(request).ledger.webhooks.get(webhook_id)
    except NotFound:
        return False
    return True
