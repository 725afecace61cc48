"""The calls under ``/v1/users`` that erase people, and tell how far that is (contract, section 4)."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from export_pipeline import ids
from export_pipeline.api import documents, user_shapes
from export_pipeline.api.deployment import deployment
from export_pipeline.api.envelopes import answer
from export_pipeline.api.exports import Repeatable
from export_pipeline.api.repeating import once
from export_pipeline.api.users import Body, Officer, UserId
from export_pipeline.days import utc_now
from export_pipeline.errors import InvalidRequest
from export_pipeline.exports.manifest import instant_text
from export_pipeline.ledger import Erasure
from export_pipeline.ledger.erasures import QUEUED
from export_pipeline.ledger.keys import Key
from export_pipeline.privacy.certificates import read
from export_pipeline.privacy.requests import checked_people, ids_from, request_erasures, shown

router = APIRouter(prefix="/v1/users", tags=["People"])

RequestId = Annotated[
    str, Path(alias="requestId", description="The id of a request.", examples=[user_shapes.ERASURE_ID])
]


@router.post(
    "/erasures",
    status_code=202,
    summary="Erase people",
    responses=documents.responses({202: user_shapes.ErasuresCreated}, 400, 401, 403, 409, 429, 500, 503),
    openapi_extra=documents.body(user_shapes.ErasureRequest, documents.ERASURE_REQUESTS),
)
def erase_many(request: Request, key: Officer, body: Body, repeatable: Repeatable = None) -> Response:
    """Queues the erasure of each person and answers at once. It cannot be taken back."""
    if unknown := [name for name in body if name != "userIds"]:
        raise InvalidRequest(f"{len(unknown)} fields are not known; the only field is userIds", field="body")
    people = checked_people(body.get("userIds"))

    def make(first: str) -> tuple[int, Any]:
        return 202, _made(_request(request, key, people, ids_from(first, len(people))))

    return once(request, key, repeatable, ids.ERASURE.new(), make)


@router.get(
    "/erasures/{requestId}",
    summary="Status of an erasure",
    responses=documents.responses({200: user_shapes.ErasureStatus}, 400, 401, 403, 404, 429, 500, 503),
)
def status(request: Request, key: Officer, request_id: RequestId) -> Response:
    """How far it is and what was removed, by store; when it is `complete`, where its certificate is."""
    here = deployment(request)
    erasure = here.ledger.erasures.get(request_id)
    document = shown(here.ledger, erasure)
    if erasure.certificate is not None:
        base = here.settings.public_url or str(request.base_url)
        path = f"{router.prefix}/erasures/{erasure.id}/certificate"
        document["certificateUrl"] = f"{base.rstrip('/')}{path}"
    return answer(request, document)


@router.get(
    "/erasures/{requestId}/certificate",
    summary="The certificate of an erasure",
    responses={
        200: documents.certificate(),
        **documents.refusals(400, 401, 403, 404, 409, 429, 500, 503),
    },
)
def certificate(request: Request, key: Officer, request_id: RequestId) -> Response:
    """The file as it was signed; `export-pipeline users verify-certificate` checks it."""
    here = deployment(request)
    erasure = here.ledger.erasures.get(request_id)
    content = read(here.settings, erasure)
    named = {"Content-Disposition": f'attachment; filename="{erasure.id}.json"'}
    return Response(content, media_type="application/json", headers=named)


@router.delete(
    "/{userId:path}",
    status_code=202,
    summary="Erase a person",
    responses=documents.responses({202: user_shapes.ErasuresCreated}, 400, 401, 403, 404, 429, 500, 503),
)
def erase(request: Request, key: Officer, user_id: UserId) -> Response:
    """Queues the erasure and answers at once. It cannot be taken back."""
    return answer(request, _made(_request(request, key, [user_id], None)), 202)


def _request(
    request: Request, key: Key, user_ids: Sequence[object], ids: Sequence[str] | None
) -> tuple[Erasure, ...]:
    ledger = deployment(request).ledger
    return request_erasures(ledger, user_ids, now=utc_now(), created_by=key.id, request_ids=ids)


def _made(requests: Sequence[Erasure]) -> dict[str, Any]:
    """What is told of requests when they were made; the same whatever became of them since."""
    told = [{"requestId": each.id, "status": QUEUED, "dueAt": instant_text(each.due_at)} for each in requests]
    return {"requests": told, **(told[0] if len(told) == 1 else {})}
