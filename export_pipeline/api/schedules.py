"""The calls under ``/v1/exports/schedules``: exports that are made and delivered again and again (contract,
section 4)."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from export_pipeline import ids
from export_pipeline.api import documents
from export_pipeline.api import schedule_shapes as shapes
from export_pipeline.api.deployment import Deployment, deployment
from export_pipeline.api.envelopes import answer
from export_pipeline.api.exports import Body, Reader, Repeatable, Writer
from export_pipeline.api.parameters import check_parameters
from export_pipeline.api.recurring import shown
from export_pipeline.api.repeating import once
from export_pipeline.api.webhooks import check_empty, without_secret
from export_pipeline.days import utc_now
from export_pipeline.delivery.recurring import change, create
from export_pipeline.errors import NotFound
from export_pipeline.exports.scheduled import run_now
from export_pipeline.ingest import waiting_for
from export_pipeline.ledger.jobs import QUEUED
from export_pipeline.ledger.paging import MOST_LISTED
from export_pipeline.ledger.schedules import Schedule

router = APIRouter(prefix="/v1/exports/schedules", tags=["Scheduled exports"])

ScheduleId = Annotated[
    str, Path(alias="id", description="The id of a schedule.", examples=[shapes.SCHEDULE_ID])
]
ERRORS = (400, 401, 403, 404, 429, 500, 503)


@router.get(
    "",
    summary="List scheduled exports, newest first",
    responses=documents.responses({200: shapes.Schedule}, 400, 401, 403, 429, 500, 503, paged=True),
)
def list_(
    request: Request,
    key: Reader,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED, description="Schedules a page.")] = 20,
    cursor: Annotated[
        str | None, Query(description="`meta.nextCursor` of the page before.", pattern="^[0-9]{1,18}$")
    ] = None,
) -> Response:
    """A page of schedules; `meta.nextCursor` is null on the last one."""
    check_parameters(request, "limit", "cursor")
    here = deployment(request)
    found, following, total = here.ledger.schedules.list(limit=limit, cursor=cursor)
    listed = shown(here.settings, here.ledger, found, utc_now())
    return answer(request, listed, total=total, nextCursor=following)


@router.post(
    "",
    status_code=201,
    summary="Schedule an export",
    responses=documents.responses({201: shapes.NewSchedule}, 400, 401, 403, 409, 429, 500, 503),
    openapi_extra=documents.body(shapes.CreateSchedule, shapes.CREATES),
)
def create_(request: Request, key: Writer, body: Body, repeatable: Repeatable = None) -> Response:
    """The last delivery whose day has come is the first that is made. `delivery` with a `url` makes an
    endpoint and answers with the secret that signs what is sent there, this once."""
    here, now = deployment(request), utc_now()

    def make(schedule_id: str) -> tuple[int, Any]:
        try:
            schedule, secret = here.ledger.schedules.get(schedule_id), None
        except NotFound:
            schedule, secret = create(
                here.settings, here.ledger, body, now, created_by=key.id, schedule_id=schedule_id
            )
        return 201, _document(here, schedule, secret)

    return once(request, key, repeatable, ids.SCHEDULE.new(), make, kept=without_secret)


@router.get(
    "/{id}",
    summary="A scheduled export",
    responses=documents.responses({200: shapes.Schedule}, *ERRORS),
)
def get(request: Request, key: Reader, schedule_id: ScheduleId) -> Response:
    """What it is of, who gets it, its newest export, and when the next is due."""
    here = deployment(request)
    return answer(request, _document(here, here.ledger.schedules.get(schedule_id), None))


@router.patch(
    "/{id}",
    summary="Change a scheduled export",
    responses=documents.responses({200: shapes.NewSchedule}, *ERRORS, 409),
    openapi_extra=documents.body(shapes.ChangeSchedule, shapes.CHANGES),
)
def change_(request: Request, key: Writer, schedule_id: ScheduleId, body: Body) -> Response:
    """Changes what is given. One that is enabled again delivers what it missed, as far as events are kept.
    With another `delivery.url`, the endpoint that was made for it moves there and gets a new secret, answered
    this once; one that others use stays, and a new one is made."""
    here = deployment(request)
    schedule, secret = change(here.settings, here.ledger, schedule_id, body, utc_now())
    return answer(request, _document(here, schedule, secret))


@router.delete(
    "/{id}",
    summary="Remove a scheduled export",
    responses=documents.responses({200: shapes.RemovedSchedule}, *ERRORS),
)
def remove(request: Request, key: Writer, schedule_id: ScheduleId) -> Response:
    """Cancels what is being made for it; the exports it has made, and the endpoint, stay."""
    deployment(request).ledger.schedules.remove(schedule_id, utc_now())
    return answer(request, {"id": schedule_id, "deleted": True})


@router.post(
    "/{id}/run",
    status_code=202,
    summary="Make and deliver the newest export now",
    responses=documents.responses({202: shapes.QueuedRun}, *ERRORS, 409),
)
def run(
    request: Request, key: Writer, schedule_id: ScheduleId, body: Body, repeatable: Repeatable = None
) -> Response:
    """Of the last day or week, whether the hour has come or not, enabled or not. If that was made before it
    is made again, under another id; days that are not closed are a conflict."""
    here = deployment(request)

    def make(_: str) -> tuple[int, Any]:
        check_empty(body)
        job = run_now(
            here.settings,
            here.store,
            here.ledger,
            schedule_id,
            utc_now(),
            waiting_for(here.settings, here.ledger),
        )
        return 202, {"id": schedule_id, "exportId": job.id, "status": QUEUED}

    return once(request, key, repeatable, schedule_id, make)


def _document(here: Deployment, schedule: Schedule, secret: str | None) -> dict[str, Any]:
    (document,) = shown(here.settings, here.ledger, [schedule], utc_now())
    return document | ({} if secret is None else {"secret": secret})
