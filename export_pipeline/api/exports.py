"""The calls under ``/v1/analytics``: ask for an export, follow it, cancel it (contract, section 4)."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from starlette.responses import Response

from export_pipeline import ids
from export_pipeline.api import documents, jobs, shapes
from export_pipeline.api.authentication import Requires, check_scope
from export_pipeline.api.bodies import json_object
from export_pipeline.api.deployment import deployment, signer
from export_pipeline.api.envelopes import answer
from export_pipeline.api.parameters import check_parameters
from export_pipeline.api.repeating import once
from export_pipeline.days import utc_now
from export_pipeline.delivery.links import current_link, new_link, urls
from export_pipeline.delivery.published import published
from export_pipeline.errors import InvalidRequest, NotFound
from export_pipeline.exports.service import request_export
from export_pipeline.given import check_names
from export_pipeline.ledger import Job
from export_pipeline.ledger.jobs import COMPLETE, EXPORTS
from export_pipeline.ledger.keys import Key
from export_pipeline.ledger.paging import MOST_LISTED

router = APIRouter(prefix="/v1/analytics", tags=["Exports"])

Reader = Annotated[Key, Depends(Requires("exports:read"))]
Writer = Annotated[Key, Depends(Requires("exports:write"))]
Body = Annotated[dict[str, Any], Depends(json_object)]
JobId = Annotated[str, Path(alias="jobId", description="The id of a job.", examples=[shapes.JOB_ID])]
Repeatable = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Any text of your own; the same one within 24 hours gives the same answer again.",
    ),
]


@router.post(
    "/export",
    status_code=202,
    summary="Ask for an export",
    responses=documents.responses({202: shapes.Created}, 400, 401, 403, 409, 422, 429, 500, 503),
    openapi_extra=documents.body(shapes.ExportRequest, documents.REQUESTS),
)
def create(request: Request, key: Writer, body: Body, repeatable: Repeatable = None) -> Response:
    """Queues an export and answers at once; ask for its status until it is `complete`."""
    here, now = deployment(request), utc_now()

    def make(job_id: str) -> tuple[int, Any]:
        try:
            job = here.ledger.jobs.get(job_id, now)
        except NotFound:
            job = request_export(
                here.settings, here.store, here.ledger, body, now=now, created_by=key.id, job_id=job_id
            )
        return 202, jobs.created(job)

    return once(request, key, repeatable, ids.EXPORT.new(), make)


@router.get(
    "/export/{jobId}",
    summary="Status of an export",
    responses=documents.responses({200: shapes.Status}, 400, 401, 403, 404, 429, 500, 503),
)
def status(request: Request, key: Reader, job_id: JobId) -> Response:
    """While it runs, how far it is; when it is `complete`, where its files can be downloaded."""
    return answer(request, _status(request, _found(request, job_id)))


@router.get(
    "/exports",
    summary="List exports, newest first",
    responses=documents.responses({200: shapes.Listed}, 400, 401, 403, 429, 500, 503, paged=True),
)
def list_(
    request: Request,
    key: Reader,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED, description="Jobs a page.")] = 20,
    status: Annotated[shapes.State | None, Query(description="Only jobs in this state.")] = None,
    cursor: Annotated[
        str | None, Query(description="`meta.nextCursor` of the page before.", pattern="^[0-9]{1,18}$")
    ] = None,
) -> Response:
    """A page of jobs; `meta.nextCursor` is null on the last one."""
    check_parameters(request, "limit", "status", "cursor")
    found, following, total = deployment(request).ledger.jobs.list(
        utc_now(), limit=limit, status=status, cursor=cursor
    )
    return answer(request, [jobs.listed(job) for job in found], total=total, nextCursor=following)


@router.delete(
    "/export/{jobId}",
    summary="Cancel an export",
    responses=documents.responses({200: shapes.Cancelled}, 400, 401, 403, 404, 409, 429, 500, 503),
)
def cancel(request: Request, key: Writer, job_id: JobId) -> Response:
    """Ends a job that is queued or running; one that has ended is a conflict."""
    job = deployment(request).ledger.jobs.cancel(_found(request, job_id).id, utc_now())
    return answer(request, {"jobId": job.id, "status": job.state})


@router.post(
    "/export/{jobId}/links",
    summary="Make fresh signed URLs",
    responses=documents.responses({200: shapes.Status}, 400, 401, 403, 404, 409, 410, 429, 500, 503),
    openapi_extra=documents.body(shapes.LinksRequest, documents.LINK_REQUESTS, required=False),
)
def links(
    request: Request, key: Reader, job_id: JobId, body: Body, repeatable: Repeatable = None
) -> Response:
    """The status with new URLs. `revokePrevious` ends all URLs given out before (needs `exports:write`)."""
    here, now = deployment(request), utc_now()

    def make(_: str) -> tuple[int, Any]:
        check_names(body, ["revokePrevious"])
        revoke = body.get("revokePrevious", False)
        if not isinstance(revoke, bool):
            raise InvalidRequest(
                "revokePrevious is neither true nor false; it must be one of them", field="revokePrevious"
            )
        if revoke:
            check_scope(key, "exports:write")
        job = _found(request, job_id)
        published(here.settings, job)
        if revoke:
            here.ledger.links.revoke(job.id, now)
        new_link(here.ledger, job, now)
        return 200, _status(request, job)

    return once(request, key, repeatable, job_id, make)


def _found(request: Request, job_id: str) -> Job:
    return deployment(request).ledger.jobs.get(job_id, utc_now(), EXPORTS)


def _status(request: Request, job: Job) -> dict[str, Any]:
    document = jobs.shown(job)
    if job.state == COMPLETE:
        here, now = deployment(request), utc_now()
        export = published(here.settings, job)
        link = current_link(here.ledger, job, now)
        document |= jobs.completed(export, urls(export, link, signer(request)))
    return document
