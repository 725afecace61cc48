"""Privacy: one person's data, handed over or erased.

A user id is shown in one place: the answer to the form in which somebody has just typed it.
"""

import json
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.exc import IntegrityError
from starlette.responses import RedirectResponse, Response

from export_pipeline import ids
from export_pipeline.api.deployment import deployment, signer
from export_pipeline.days import utc_now
from export_pipeline.delivery.links import current_link, urls
from export_pipeline.delivery.published import published
from export_pipeline.errors import ExportPipelineError, InvalidRequest, NotFound
from export_pipeline.ledger import Erasure, Job
from export_pipeline.ledger.erasures import COMPLETE as ERASED
from export_pipeline.ledger.erasures import OPEN as BEING_ERASED
from export_pipeline.ledger.jobs import OPEN, USER
from export_pipeline.portal import once, saying
from export_pipeline.portal.auditing import note
from export_pipeline.portal.exports import CREATED_BY, progress
from export_pipeline.portal.forms import Form, form_of
from export_pipeline.portal.guards import member
from export_pipeline.portal.pages import code_of, page, part, to
from export_pipeline.portal.slices import Number, sliced
from export_pipeline.privacy.asking import request_access
from export_pipeline.privacy.certificates import deployment_key, problems, read
from export_pipeline.privacy.foreseeing import foresee
from export_pipeline.privacy.requests import checked_people, ids_from, request_erasures, shown
from export_pipeline.sizes import counted

router = APIRouter(prefix="/privacy", dependencies=[Depends(member)])

CONFIRMATION = "ERASE"
"""What has to be typed before people are erased."""
_LISTED = 10
_SOON_DAYS = 7
_DONE = {"asked": "The requests are queued; each gets a certificate when it is complete."}

GivenForm = Annotated[Form, Depends(form_of)]
Cursor = Annotated[str | None, Query(pattern="^[0-9]{1,18}$")]


@router.get("")
def show(request: Request, cursor: Cursor = None, erased: Cursor = None, open: Number = 1) -> Response:
    """The forms, what is open, and what was done."""
    return _page(request, Form(), cursor, erased, open, said=saying.take(request, _DONE))


@router.post("/access")
def ask(request: Request, form: GivenForm) -> Response:
    """Ask for a person's data. The same form sent twice asks once."""
    here, now = deployment(request), utc_now()
    job_id = once.id_from(request, form, ids.ACCESS)
    try:
        if not _is_known(request, job_id):
            if not form.text("userId"):
                raise InvalidRequest("Type the id of the person.", field="userId")
            request_access(
                here.settings,
                here.ledger,
                form.text("userId"),
                now=now,
                created_by=CREATED_BY,
                job_id=job_id,
            )
            note(request, "asked for a person's data", job_id)
    except IntegrityError:
        pass  # asked for by the same form a moment ago
    except ExportPipelineError as error:
        return _page(request, form.told(error), code=code_of(error, is_form=True))
    return to(request, f"/privacy/access/{job_id}")


@router.get("/access/{job_id}")
def access(request: Request, job_id: str) -> Response:
    """An access export."""
    job = _found(request, job_id)
    return page(request, "access.html", job=job, open=job.state in OPEN, now=progress(job), seen=None)


@router.get("/access/{job_id}/live")
def live(request: Request, job_id: str, seen: str = "", shown: str = "") -> Response:
    """What changes of an access export while it is made. ``seen`` is the state that was shown before."""
    job = _found(request, job_id)
    told = {"job": job, "open": job.state in OPEN, "seen": seen}
    return part(request, "access_live.html", shown, progress(job), **told)


@router.get("/access/{job_id}/download")
def download(request: Request, job_id: str) -> Response:
    """Goes on to the signed URL of a person's archive."""
    here, now = deployment(request), utc_now()
    job = _found(request, job_id)
    export = published(here.settings, job)
    leads_to = urls(export, current_link(here.ledger, job, now), signer(request))
    note(request, "downloaded a person's data", job.id)
    return RedirectResponse(leads_to.download, 303)


@router.post("/erasures/preview")
def preview(request: Request, form: GivenForm) -> Response:
    """What erasing the people typed would remove, and the form that confirms it."""
    answer = _preview(request, form)
    if answer.status_code == 200:
        note(request, "looked at what an erasure would remove")
    return answer


@router.post("/erasures")
def erase(request: Request, form: GivenForm) -> Response:
    """Queue the erasures, once the word is typed. The same form sent twice asks once."""
    ledger, now = deployment(request).ledger, utc_now()
    first = once.id_from(request, form, ids.ERASURE)
    if form.text("confirm") != CONFIRMATION:
        wrong = ExportPipelineError(f"Type {CONFIRMATION} to go on; nothing is erased yet.", field="confirm")
        return _preview(request, form.told(wrong))
    try:
        people = checked_people(form.lines("userIds"))
        request_ids = ids_from(first, len(people))
        made = request_erasures(ledger, people, now=now, created_by=CREATED_BY, request_ids=request_ids)
    except ExportPipelineError as error:
        return _page(request, form.told(error), code=code_of(error, is_form=True))
    for each in made:
        if each.created_at == now:  # else the same form was sent before
            note(request, "asked to erase a person", each.id)
    if len(made) == 1:
        return to(request, f"/privacy/erasures/{first}")
    return saying.say_at(request, "/privacy", "asked")


@router.get("/erasures/{request_id}")
def erasure(request: Request, request_id: str) -> Response:
    """A request to erase a person, and what its certificate says."""
    return page(request, "erasure.html", **_erasure(request, request_id), seen=None)


@router.get("/erasures/{request_id}/live")
def erasure_live(request: Request, request_id: str, seen: str = "") -> Response:
    """What changes of an erasure while it is done. ``seen`` is the state that was shown before."""
    return page(request, "erasure_live.html", **_erasure(request, request_id), seen=seen)


@router.get("/erasures/{request_id}/certificate")
def certificate(request: Request, request_id: str) -> Response:
    """The certificate as it was signed."""
    here = deployment(request)
    found = here.ledger.erasures.get(request_id)
    content = read(here.settings, found)
    note(request, "downloaded a certificate", found.id)
    named = {"Content-Disposition": f'attachment; filename="{found.id}.json"'}
    return Response(content, media_type="application/json", headers=named)


def _erasure(request: Request, request_id: str) -> dict[str, Any]:
    ledger = deployment(request).ledger
    found = ledger.erasures.get(request_id)
    certificate, wrong = _certificate(request, found)
    return {
        "erasure": found,
        "open": found.state in BEING_ERASED,
        "told": shown(ledger, found),
        "due": _due(found, utc_now()),
        "certificate": certificate,
        "wrong": wrong,
    }


def _certificate(request: Request, found: Erasure) -> tuple[dict[str, Any] | None, str]:
    """What the certificate of a request says, None if there is none; and what is wrong with it."""
    if found.state != ERASED:
        return None, ""
    settings = deployment(request).settings
    try:
        content = read(settings, found)
    except NotFound as error:
        return None, error.message
    if wrong := problems(content, deployment_key(settings)):
        return None, "; ".join(wrong)
    document: dict[str, Any] = json.loads(content)
    return document, ""


def _preview(request: Request, form: Form) -> Response:
    here = deployment(request)
    try:
        if not form.lines("userIds"):
            raise InvalidRequest("Type the id of at least one person.", field="userIds")
        people = checked_people(form.lines("userIds"))
    except ExportPipelineError as error:
        return _page(request, form.told(error), code=code_of(error, is_form=True))
    found = foresee(here.settings, here.store, here.ledger, people, utc_now())
    return page(
        request,
        "erase.html",
        422 if form.errors else 200,
        form=form,
        people=[
            (person, each["rowsRemoved"]) for person, each in zip(people, found["requests"], strict=True)
        ],
        found=found,
        held=any(any(each["rowsRemoved"].values()) for each in found["requests"]),
        once=once.given(form),
        word=CONFIRMATION,
    )


def _page(
    request: Request,
    form: Form,
    cursor: str | None = None,
    erased: str | None = None,
    number: int = 1,
    *,
    said: str = "",
    code: int = 200,
) -> Response:
    ledger, now = deployment(request).ledger, utc_now()
    exports, following, _ = ledger.jobs.list(now, limit=_LISTED, cursor=cursor, kinds=[USER])
    done, following_erased, _ = ledger.erasures.list([ERASED], limit=_LISTED, cursor=erased)
    waiting = sliced(
        sorted(ledger.erasures.unfulfilled(), key=lambda each: (each.due_at, each.number)), number
    )
    return page(
        request,
        "privacy.html",
        code,
        form=form,
        once=once.given(form),
        waiting=[(each, _due(each, now)) for each in waiting.items],
        open=waiting,
        exports=exports,
        following=following,
        erased=done,
        following_erased=following_erased,
        cursors=(cursor or "", erased or ""),
        said=said,
    )


def _due(found: Erasure, now: datetime) -> tuple[str, str]:
    """How long a request has until it is due, and how that looks."""
    if found.due_at < now:
        return "late", "bad"
    days = -((now - found.due_at) // timedelta(days=1))
    return counted(days, "day"), "warn" if days <= _SOON_DAYS else ""


def _found(request: Request, job_id: str) -> Job:
    if not ids.ACCESS.fits(job_id):
        raise ids.ACCESS.unknown(job_id)
    return deployment(request).ledger.jobs.get(job_id, utc_now(), [USER])


def _is_known(request: Request, job_id: str) -> bool:
    try:
        _found(request, job_id)
    except NotFound:
        return False
    return True
