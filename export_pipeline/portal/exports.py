"""Analytics → Export data: asking for an export, the list of them, and one with its files."""

import hashlib
import shlex
from datetime import datetime, timedelta
from typing import Annotated, Any

from botocore.exceptions import BotoCoreError
from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.exc import IntegrityError
from starlette.responses import RedirectResponse, Response

from export_pipeline import ids
from export_pipeline.api.deployment import deployment, signer
from export_pipeline.api.envelopes import STATUS_OF
from export_pipeline.days import oldest_kept_day, utc_now
from export_pipeline.delivery.links import current_link, urls
from export_pipeline.delivery.onefile import one_file_name
from export_pipeline.delivery.published import published
from export_pipeline.errors import Conflict, ExportPipelineError, NotFound
from export_pipeline.exports.estimates import estimate
from export_pipeline.exports.request import parse_request
from export_pipeline.exports.service import request_export
from export_pipeline.failures import answer_to
from export_pipeline.ledger import Job
from export_pipeline.ledger.jobs import COMPLETE, EXPORTS, OPEN
from export_pipeline.portal import export_form, once, saying
from export_pipeline.portal.auditing import note
from export_pipeline.portal.forms import Form, form_of
from export_pipeline.portal.guards import member
from export_pipeline.portal.pages import page, part, to
from export_pipeline.portal.slices import Number, sliced
from export_pipeline.sizes import counted

router = APIRouter(prefix="/exports", dependencies=[Depends(member)])

CREATED_BY = "portal"
_SAID = {"ended": "It had ended before it could be cancelled."}

GivenForm = Annotated[Form, Depends(form_of)]
Cursor = Annotated[str | None, Query(pattern="^[0-9]{1,18}$")]


@router.get("")
def show(request: Request, cursor: Cursor = None) -> Response:
    """The form and the list."""
    return _page(request, export_form.fresh(deployment(request).settings, utc_now()), cursor=cursor)


@router.post("")
def ask(request: Request, form: GivenForm) -> Response:
    """Queue an export. The same form sent twice asks once."""
    here, now = deployment(request), utc_now()
    job_id = once.id_from(request, form, ids.EXPORT)
    try:
        if not _is_known(request, job_id):
            values = export_form.asked(form)
            job = request_export(
                here.settings, here.store, here.ledger, values, now=now, created_by=CREATED_BY, job_id=job_id
            )
            note(request, "asked for an export", job.id)
    except IntegrityError:
        pass  # asked for by the same form a moment ago
    except ExportPipelineError as error:
        return _page(request, export_form.told(form, error), status=_status(error))
    return to(request, f"/exports/{job_id}")


@router.post("/estimate")
def foresee(request: Request, form: GivenForm) -> Response:
    """What an export will come to: with htmx the part of the page that says so, else the page."""
    if request.headers.get("hx-request"):
        return page(
            request, "estimate.html", expected=_expected(request, form), hint=_hint(form), swapped=True
        )
    return _page(request, form)


@router.get("/list")
def rows(request: Request, cursor: Cursor = None, shown: str = "") -> Response:
    """The list alone, as it is now."""
    told = _listed(request, cursor)
    return part(request, "exports_list.html", shown, told.pop("now"), **told)


@router.get("/{job_id}")
def one(request: Request, job_id: str, files: Number = 1) -> Response:
    """An export; ``files``: which page of its files."""
    told = _one(request, job_id, files)
    return page(request, "export.html", **told, seen=None, said=saying.take(request, _SAID))


@router.get("/{job_id}/live")
def live(request: Request, job_id: str, seen: str = "", shown: str = "") -> Response:
    """What changes of an export while it is made. ``seen`` is the state that was shown before."""
    told = _one(request, job_id)
    return part(request, "export_live.html", shown, told.pop("now"), **told, seen=seen)


@router.get("/{job_id}/download")
def download(request: Request, job_id: str) -> Response:
    """Goes on to the signed URL of an export as one file."""
    here, now = deployment(request), utc_now()
    job = _found(request, job_id)
    export = published(here.settings, job)
    leads_to = urls(export, current_link(here.ledger, job, now), signer(request))
    note(request, "downloaded an export", job.id)
    return RedirectResponse(leads_to.download, 303)


@router.post("/{job_id}/cancel")
def cancel(request: Request, job_id: str) -> Response:
    """End an export that is not complete."""
    found = _found(request, job_id)
    try:
        deployment(request).ledger.jobs.cancel(found.id, utc_now())
    except Conflict:
        return saying.say_at(request, f"/exports/{found.id}", "ended")
    note(request, "cancelled an export", found.id)
    return to(request, f"/exports/{found.id}")


def _page(request: Request, form: Form, status: int = 200, cursor: str | None = None) -> Response:
    settings, now = deployment(request).settings, utc_now()
    return page(
        request,
        "exports.html",
        status,
        form=form,
        expected=_expected(request, form),
        hint=_hint(form),
        oldest=oldest_kept_day(now, settings.raw_retention_days),
        today=now.date(),
        kept_days=settings.export_retention_days,
        options=export_form,
        once=once.given(form),
        **_listed(request, cursor),
    )


def _hint(form: Form) -> str:
    return export_form.range_hint(form, utc_now())


def _expected(request: Request, form: Form) -> dict[str, Any]:
    """Days, rows, size and time of what a form asks for, or the error that it would be refused with."""
    here, now = deployment(request), utc_now()
    try:
        wanted = parse_request(export_form.asked(form), now=now, settings=here.settings)
        found = estimate(here.settings, here.store, here.ledger, wanted, now)
    except (OSError, BotoCoreError) as error:
        if (told := answer_to(error)) is None:
            raise
        return {"error": f"How large it will be is not known: {told.message}."}
    except ExportPipelineError as error:
        return {"error": next(iter(export_form.told(Form(), error).errors.values()))}
    return {
        "days": (wanted.end - wanted.start).days + 1,
        "rows": found.rows,
        "bytes": found.bytes,
        "time": _in_words(found.completion - now),
        "guessed": bool(wanted.filters),
        "error": "",
    }


def _in_words(time: timedelta) -> str:
    seconds = max(1, round(time.total_seconds()))
    if seconds < 90:
        return counted(seconds, "second")
    return (
        counted(round(seconds / 60), "minute") if seconds < 5400 else counted(round(seconds / 3600), "hour")
    )


def _listed(request: Request, cursor: str | None) -> dict[str, Any]:
    found, following, total = deployment(request).ledger.jobs.list(utc_now(), cursor=cursor)
    return {
        "jobs": found,
        "following": following,
        "total": total,
        "cursor": cursor or "",
        "open": any(job.state in OPEN for job in found),
        "now": hashlib.sha256(" ".join(map(progress, found)).encode()).hexdigest()[:16],
    }


def _one(request: Request, job_id: str, files: int = 1) -> dict[str, Any]:
    job, now = _found(request, job_id), utc_now()
    return {
        "job": job,
        "open": job.state in OPEN,
        "now": progress(job),
        "left": _left(job, now),
        **_files(request, job, now, files),
    }


def progress(job: Job) -> str:
    """What tells a job from how it was before."""
    return f"{job.id}-{job.state}-{job.progress}-{job.processed_rows}"


def _left(job: Job, now: datetime) -> str:
    return _in_words(job.estimated_completion - now) if job.estimated_completion > now else ""


def _files(request: Request, job: Job, now: datetime, number: int) -> dict[str, Any]:
    """The files of a complete export and where they are; nothing of one that has none."""
    if job.state != COMPLETE:
        return {"files": None, "leads_to": None, "command": "", "name": ""}
    here = deployment(request)
    export = published(here.settings, job)
    leads_to = urls(export, current_link(here.ledger, job, now), signer(request))
    name = one_file_name(export.manifest)
    return {
        "files": sliced(export.manifest.files, number),
        "leads_to": leads_to,
        "name": name,
        "command": f"curl -fL -C - -o {shlex.quote(name)} {shlex.quote(leads_to.download)}",
    }


def _found(request: Request, job_id: str) -> Job:
    return deployment(request).ledger.jobs.get(job_id, utc_now(), EXPORTS)


def _is_known(request: Request, job_id: str) -> bool:
    try:
        _found(request, job_id)
    except NotFound:
        return False
    return True


def _status(error: ExportPipelineError) -> int:
    return 422 if error.field else STATUS_OF.get(error.code, 500)
