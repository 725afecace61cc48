"""Settings → Data export: exports that are made and delivered again and again."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.exc import IntegrityError
from starlette.responses import Response

from export_pipeline import ids
from export_pipeline.api.deployment import deployment
from export_pipeline.days import utc_now
from export_pipeline.delivery.recurring import change, create
from export_pipeline.errors import ExportPipelineError, NotFound
from export_pipeline.exports.scheduled import days_of, first_day, next_run, run_now
from export_pipeline.ingest import waiting_for
from export_pipeline.ledger.paging import MOST_LISTED
from export_pipeline.ledger.schedules import Schedule
from export_pipeline.portal import export_form, once, saying, schedule_form
from export_pipeline.portal.auditing import note
from export_pipeline.portal.export_form import Option
from export_pipeline.portal.exports import CREATED_BY
from export_pipeline.portal.forms import Form, form_of
from export_pipeline.portal.guards import member
from export_pipeline.portal.onceshown import Shown, show_at, take
from export_pipeline.portal.pages import code_of, page, to

router = APIRouter(prefix="/schedules", dependencies=[Depends(member)])

_DONE = {
    "made": "The scheduled export is set up.",
    "changed": "The changes are saved.",
    "on": "It is on: what is due is made and delivered.",
    "off": "It is off: nothing more is made until it is turned on again.",
    "deleted": "The scheduled export is deleted.",
    "gone": "The scheduled export was deleted before.",
}

GivenForm = Annotated[Form, Depends(form_of)]
Cursor = Annotated[str | None, Query(pattern="^[0-9]{1,18}$")]


@router.get("")
def show(request: Request, cursor: Cursor = None) -> Response:
    """All of them, newest first."""
    here = deployment(request)
    found, following, _ = here.ledger.schedules.list(cursor=cursor)
    return page(
        request,
        "schedules.html",
        schedules=_told(request, found),
        following=following,
        is_first=cursor is None,
        said=saying.take(request, _DONE),
    )


@router.get("/new")
def new(request: Request, webhook: str = "") -> Response:
    """The form of a new one; ``webhook``: the id of the endpoint it is filled with."""
    some = deployment(request).ledger.webhooks.list(limit=1)[2] > 0
    return _form(request, schedule_form.fresh(some, webhook), None)


@router.post("")
def make(request: Request, form: GivenForm) -> Response:
    """Set one up, and go on to it, where the secret of an endpoint made for it is shown this once."""
    here = deployment(request)
    schedule_id = once.id_from(request, form, ids.SCHEDULE)
    try:
        if not _is_known(request, schedule_id):
            values = schedule_form.asked(form)
            made, secret = create(
                here.settings,
                here.ledger,
                values,
                utc_now(),
                created_by=CREATED_BY,
                schedule_id=schedule_id,
            )
            note(request, "set up a scheduled export", made.id)
            if secret is not None:
                saying.keep(request, f"/schedules/{made.id}", "made")
                return show_at(request, f"/schedules/{made.id}", Shown(secret))
    except IntegrityError:
        pass  # set up by the same form a moment ago
    except ExportPipelineError as error:
        return _form(request, schedule_form.told(form, error), None, code_of(error, is_form=True))
    return saying.say_at(request, f"/schedules/{schedule_id}", "made")


@router.get("/{schedule_id}")
def one(request: Request, schedule_id: str) -> Response:
    """One of them."""
    found = deployment(request).ledger.schedules.get(schedule_id)
    return _page(request, found, said=saying.take(request, _DONE), shown=take(request))


@router.get("/{schedule_id}/edit")
def edit(request: Request, schedule_id: str) -> Response:
    """The form with what it is now."""
    ledger = deployment(request).ledger
    found = ledger.schedules.get(schedule_id)
    return _form(request, schedule_form.filled(found, ledger.schedules.address(schedule_id)), found)


@router.post("/{schedule_id}/edit")
def save(request: Request, schedule_id: str, form: GivenForm) -> Response:
    """Change it."""
    here = deployment(request)
    held = here.ledger.schedules
    before = held.get(schedule_id)
    try:
        address = held.address(before.id)
        values = schedule_form.changed(form, before, address, held.user_ids(before.id))
        after, secret = change(here.settings, here.ledger, before.id, values, utc_now())
    except ExportPipelineError as error:
        return _form(request, schedule_form.told(form, error), before, code_of(error, is_form=True))
    note(request, "changed a scheduled export", after.id)
    if secret is not None:
        saying.keep(request, f"/schedules/{after.id}", "changed")
        return show_at(request, f"/schedules/{after.id}", Shown(secret))
    return saying.say_at(request, f"/schedules/{after.id}", "changed")


@router.post("/{schedule_id}/turn")
def turn(request: Request, schedule_id: str, form: GivenForm) -> Response:
    """Turn it on or off."""
    here = deployment(request)
    on = form.text("to") == "on"
    before = here.ledger.schedules.get(schedule_id)
    try:
        change(here.settings, here.ledger, before.id, {"enabled": on}, utc_now())
    except ExportPipelineError as error:
        return _page(request, before, problem=error.message, code=code_of(error))
    note(request, f"turned {'on' if on else 'off'} a scheduled export", before.id)
    return saying.say_at(request, f"/schedules/{before.id}", f"{'on' if on else 'off'}")


@router.post("/{schedule_id}/run")
def run(request: Request, schedule_id: str) -> Response:
    """Make and deliver its newest export now, and go on to that."""
    here = deployment(request)
    settings, ledger = here.settings, here.ledger
    found = ledger.schedules.get(schedule_id)
    try:
        job = run_now(
            settings,
            here.store,
            ledger,
            found.id,
            utc_now(),
            waiting_for(settings, ledger),
        )
    except ExportPipelineError as error:
        return _page(request, found, problem=error.message, code=code_of(error))
    note(request, "ran a scheduled export", found.id)
    return to(request, f"/exports/{job.id}")


@router.post("/{schedule_id}/delete")
def delete(request: Request, schedule_id: str) -> Response:
    """Delete it; what it has made stays."""
    try:
        deployment(request).ledger.schedules.remove(schedule_id, utc_now())
    except NotFound:
        return saying.say_at(request, "/schedules", "gone")
    note(request, "deleted a scheduled export", schedule_id)
    return saying.say_at(request, "/schedules", "deleted")


def _page(
    request: Request,
    found: Schedule,
    *,
    said: str = "",
    problem: str = "",
    shown: Shown | None = None,
    code: int = 200,
) -> Response:
    is_making = deployment(request).ledger.schedules.is_making(found.id)
    return page(
        request,
        "schedule.html",
        code,
        **_told(request, [found])[0],
        said=said,
        problem=problem,
        shown=shown,
        is_making=is_making,
    )


def _told(request: Request, found: Sequence[Schedule]) -> list[dict[str, Any]]:
    """Schedules, each with who gets it, its newest export and when the next is due."""
    here, now = deployment(request), utc_now()
    held, ids = here.ledger.schedules, [schedule.id for schedule in found]
    last, failed = held.last_exports(ids), held.failed(ids)
    told = []
    for schedule in found:
        endpoint = here.ledger.webhooks.get(schedule.webhook_id) if schedule.webhook_id else None
        newest = first_day(schedule.frequency, now)
        told.append(
            {
                "schedule": schedule,
                "endpoint": endpoint,
                "address": None if endpoint else held.address(schedule.id),
                "last": here.ledger.jobs.get(last[schedule.id], now) if schedule.id in last else None,
                "failed": failed.get(schedule.id),
                "next_run": next_run(here.settings, schedule, now),
                "next_days": days_of(schedule, schedule.next_day),
                "is_due": schedule.enabled and schedule.next_day <= newest,
                "newest_days": days_of(schedule, newest),
            }
        )
    return told


def _form(request: Request, form: Form, before: Schedule | None, code: int = 200) -> Response:
    endpoints, more = _endpoints(request, form.text("webhookId"))
    return page(
        request,
        "schedule_form.html",
        code,
        form=form,
        before=before,
        once=once.given(form),
        data=export_form,
        options=schedule_form,
        deliveries=schedule_form.deliveries(bool(deployment(request).settings.smtp_host)),
        endpoints=endpoints,
        more_endpoints=more,
        hour=deployment(request).settings.export_hour,
    )


def _endpoints(request: Request, chosen: str) -> tuple[list[Option], bool]:
    """What can be chosen from: the newest endpoints, and the one chosen, however old; whether there are
    more."""
    held = deployment(request).ledger.webhooks
    found, following, _ = held.list(limit=MOST_LISTED)
    if chosen not in ("", *(webhook.id for webhook in found)):
        with suppress(NotFound):
            found = (held.get(chosen), *found)
    told = [
        Option(webhook.id, f"{webhook.description or webhook.url} ({webhook.status})") for webhook in found
    ]
    return told, following is not None


def _is_known(request: Request, schedule_id: str) -> bool:
    try:
        deployment(request).ledger.schedules.get(schedule_id)
    except NotFound:
        return False
    return True
