"""The calls under ``/v1/users``: one person's data (contract, sections 4 and 6).

A user id is in no log, no error and no answer: paths are logged as routes, and what is asked for has an id of
its own.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from export_pipeline import ids
from export_pipeline.api import documents, jobs, user_shapes
from export_pipeline.api.authentication import Requires
from export_pipeline.api.bodies import json_object
from export_pipeline.api.deployment import deployment, signer
from export_pipeline.api.envelopes import answer
from export_pipeline.api.exports import Repeatable
from export_pipeline.api.repeating import once
from export_pipeline.days import utc_now
from export_pipeline.delivery.links import current_link, urls
from export_pipeline.delivery.published import published
from export_pipeline.errors import InvalidRequest, NotFound
from export_pipeline.ledger.jobs import COMPLETE, USER
from export_pipeline.ledger.keys import Key
from export_pipeline.privacy.asking import request_access

router = APIRouter(prefix="/v1/users", tags=["People"])

Officer = Annotated[Key, Depends(Requires("privacy"))]
Body = Annotated[dict[str, Any], Depends(json_object)]
UserId = Annotated[
    str,
    Path(
        alias="userId",
        description="The id of a user, or an anonymous id; no `.` or `..`, which clients leave out of paths.",
        examples=[user_shapes.USER_ID],
        json_schema_extra={"not": {"enum": [".", ".."]}},
    ),
]
AccessId = Annotated[
    str, Path(alias="jobId", description="The id of an access export.", examples=[user_shapes.ACCESS_ID])
]


@router.post(
    "/exports",
    status_code=202,
    summary="Ask for one person's data",
    responses=documents.responses({202: user_shapes.AccessCreated}, 400, 401, 403, 409, 429, 500, 503),
    openapi_extra=documents.body(user_shapes.AccessRequest, documents.ACCESS_REQUESTS),
)
def create(request: Request, key: Officer, body: Body, repeatable: Repeatable = None) -> Response:
    """Queues an access export, known or not; ask for its status until it is `complete`."""
    if unknown := [name for name in body if name != "userId"]:
        raise InvalidRequest(f"{len(unknown)} fields are not known; the only field is userId", field="body")
    return _asked(request, key, body.get("userId"), repeatable)


@router.post(
    "/{userId:path}/export",
    status_code=202,
    summary="Ask for one person's data, by path",
    responses=documents.responses({202: user_shapes.AccessCreated}, 400, 401, 403, 404, 409, 429, 500, 503),
)
def create_by_path(
    request: Request, key: Officer, body: Body, user_id: UserId, repeatable: Repeatable = None
) -> Response:
    """The same with the id in the path, which proxies may log; the other call keeps it in the body."""
    if body:
        raise InvalidRequest("the body is not empty; this call has none", field="body")
    return _asked(request, key, user_id, repeatable)


def _asked(request: Request, key: Key, user_id: object, repeatable: str | None) -> Response:
    here, now = deployment(request), utc_now()

    def make(job_id: str) -> tuple[int, Any]:
        try:
            job = here.ledger.jobs.get(job_id, now, [USER])
        except NotFound:
            job = request_access(
                here.settings, here.ledger, user_id, now=now, created_by=key.id, job_id=job_id
            )
        return 202, {name: jobs.created(job)[name] for name in ("jobId", "status", "createdAt")}

    return once(request, key, repeatable, ids.ACCESS.new(), make)


@router.get(
    "/exports/{jobId}",
    summary="Status of an access export",
    responses=documents.responses({200: user_shapes.AccessStatus}, 400, 401, 403, 404, 429, 500, 503),
)
def status(request: Request, key: Officer, job_id: AccessId) -> Response:
    """While it runs, how far it is; when it is `complete`, where its archive can be downloaded."""
    here, now = deployment(request), utc_now()
    if not ids.ACCESS.fits(job_id):
        raise ids.ACCESS.unknown(job_id)
    job = here.ledger.jobs.get(job_id, now, [USER])
    document = jobs.shown(job)
    if job.state == COMPLETE:
        export = published(here.settings, job)
        link = current_link(here.ledger, job, now)
        document |= jobs.completed(export, urls(export, link, signer(request)))
    return answer(request, document)
