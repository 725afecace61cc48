"""The calls under ``/v1/webhooks``: endpoints, and the log of what was sent to them (contract, section 4)."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from export_pipeline import ids
from export_pipeline.api import documents
from export_pipeline.api import webhook_shapes as shapes
from export_pipeline.api.authentication import Requires
from export_pipeline.api.deliveries import deliveries, endpoints, retried, tested
from export_pipeline.api.deployment import deployment
from export_pipeline.api.envelopes import answer
from export_pipeline.api.exports import Body, Repeatable
from export_pipeline.api.parameters import check_parameters
from export_pipeline.api.repeating import once
from export_pipeline.days import utc_now
from export_pipeline.delivery.endpoints import change, check_event, create
from export_pipeline.delivery.outbox import Courier
from export_pipeline.errors import NotFound
from export_pipeline.exports.manifest import instant_text
from export_pipeline.given import check_names
from export_pipeline.ledger.keys import Key
from export_pipeline.ledger.paging import MOST_LISTED

router = APIRouter(prefix="/v1/webhooks", tags=["Webhooks"])

Caller = Annotated[Key, Depends(Requires("webhooks"))]
WebhookId = Annotated[
    str, Path(alias="webhookId", description="The id of an endpoint.", examples=[shapes.WEBHOOK_ID])
]
DeliveryId = Annotated[
    str, Path(alias="deliveryId", description="The id of a delivery.", examples=[shapes.DELIVERY_ID])
]
Limit = Annotated[int, Query(ge=1, le=MOST_LISTED, description="Entries a page.")]
Cursor = Annotated[
    str | None, Query(description="`meta.nextCursor` of the page before.", pattern="^[0-9]{1,18}$")
]
ERRORS = (400, 401, 403, 404, 429, 500, 503)


@router.get(
    "",
    summary="List endpoints, newest first",
    responses=documents.responses({200: shapes.Webhook}, 400, 401, 403, 429, 500, 503, paged=True),
)
def list_(request: Request, key: Caller, limit: Limit = 20, cursor: Cursor = None) -> Response:
    """A page of endpoints; `meta.nextCursor` is null on the last one. Secrets are never listed."""
    check_parameters(request, "limit", "cursor")
    ledger = deployment(request).ledger
    found, following, total = ledger.webhooks.list(limit=limit, cursor=cursor)
    return answer(request, endpoints(ledger, found), total=total, nextCursor=following)


@router.post(
    "",
    status_code=201,
    summary="Make an endpoint",
    responses=documents.responses({201: shapes.NewWebhook}, 400, 401, 403, 409, 429, 500, 503),
    openapi_extra=documents.body(shapes.CreateWebhook, shapes.CREATES),
)
def create_(request: Request, key: Caller, body: Body, repeatable: Repeatable = None) -> Response:
    """Answers with the secret that signs what is sent there, this once."""
    here, now = deployment(request), utc_now()

    def make(webhook_id: str) -> tuple[int, Any]:
        try:
            webhook, secret = here.ledger.webhooks.get(webhook_id), None
        except NotFound:
            webhook, secret = create(here.settings, here.ledger, body, now, webhook_id)
        (document,) = endpoints(here.ledger, [webhook])
        return 201, document | ({} if secret is None else {"secret": secret})

    return once(request, key, repeatable, ids.WEBHOOK.new(), make, kept=without_secret)


@router.get(
    "/{webhookId}",
    summary="An endpoint",
    responses=documents.responses({200: shapes.Webhook}, *ERRORS),
)
def get(request: Request, key: Caller, webhook_id: WebhookId) -> Response:
    """What it is told of, and how that went."""
    ledger = deployment(request).ledger
    (document,) = endpoints(ledger, [ledger.webhooks.get(webhook_id)])
    return answer(request, document)


@router.patch(
    "/{webhookId}",
    summary="Change an endpoint",
    responses=documents.responses({200: shapes.Webhook}, *ERRORS),
    openapi_extra=documents.body(shapes.ChangeWebhook, shapes.CHANGES),
)
def change_(request: Request, key: Caller, webhook_id: WebhookId, body: Body) -> Response:
    """Changes what is given. What waits for an endpoint that is disabled has failed, and can be retried."""
    here = deployment(request)
    webhook = change(here.settings, here.ledger, webhook_id, body, utc_now())
    (document,) = endpoints(here.ledger, [webhook])
    return answer(request, document)


@router.delete(
    "/{webhookId}",
    summary="Remove an endpoint",
    responses=documents.responses({200: shapes.RemovedWebhook}, *ERRORS, 409),
)
def remove(request: Request, key: Caller, webhook_id: WebhookId) -> Response:
    """Removes it and the log of its deliveries; what waits is not sent any more. One that a scheduled export
    is delivered to is a conflict."""
    deployment(request).ledger.webhooks.remove(webhook_id)
    return answer(request, {"id": webhook_id, "deleted": True})


@router.post(
    "/{webhookId}/rotate-secret",
    summary="Make a new secret",
    responses=documents.responses({200: shapes.RotatedSecret}, *ERRORS, 409),
)
def rotate(
    request: Request, key: Caller, webhook_id: WebhookId, body: Body, repeatable: Repeatable = None
) -> Response:
    """For an hour every request is signed with both secrets; then with the new one alone. A sixth rotation
    within an hour is a conflict."""
    here = deployment(request)

    def make(_: str) -> tuple[int, Any]:
        check_empty(body)
        secret, until = here.ledger.webhooks.rotate(webhook_id, utc_now())
        return 200, {
            "id": webhook_id,
            "secret": secret,
            "previousSecretExpiresAt": instant_text(until),
        }

    return once(request, key, repeatable, webhook_id, make, kept=without_secret)


@router.post(
    "/{webhookId}/test",
    summary="Send a test event",
    responses=documents.responses({200: shapes.TestResult}, *ERRORS, 409),
    openapi_extra=documents.body(shapes.TestWebhook, shapes.TESTS),
)
def send_test(
    request: Request, key: Caller, webhook_id: WebhookId, body: Body, repeatable: Repeatable = None
) -> Response:
    """Sends an event about no export (`data.test` is true), once, and tells what was answered."""
    here = deployment(request)

    def make(message_id: str) -> tuple[int, Any]:
        here.ledger.webhooks.get(webhook_id)
        check_names(body, ["event"])
        event = check_event(body.get("event"))
        message = Courier(here.settings, here.ledger).test(webhook_id, event, message_id)
        return 200, tested(here.ledger, message)

    # A receiver that hangs holds up no other request.
    return once(request, key, repeatable, ids.DELIVERY.new(), make, alone=False)


@router.get(
    "/{webhookId}/deliveries",
    summary="The log of deliveries, newest first",
    responses=documents.responses({200: shapes.Delivery}, *ERRORS, paged=True),
)
def list_deliveries(
    request: Request,
    key: Caller,
    webhook_id: WebhookId,
    limit: Limit = 20,
    status: Annotated[
        shapes.DeliveryStatus | None, Query(description="Only deliveries in this state.")
    ] = None,
    cursor: Cursor = None,
) -> Response:
    """What was sent, what was answered each time, and when the next attempt is."""
    check_parameters(request, "limit", "status", "cursor")
    here = deployment(request)
    found, following, total = here.ledger.messages.list(webhook_id, limit=limit, status=status, cursor=cursor)
    documents_ = deliveries(here.settings, here.ledger, found, utc_now())
    return answer(request, documents_, total=total, nextCursor=following)


@router.post(
    "/{webhookId}/deliveries/{deliveryId}/retry",
    summary="Send a delivery again now",
    responses=documents.responses({200: shapes.RetriedDelivery}, *ERRORS, 409),
)
def retry(
    request: Request,
    key: Caller,
    webhook_id: WebhookId,
    delivery_id: DeliveryId,
    body: Body,
    repeatable: Repeatable = None,
) -> Response:
    """Whatever became of it before; it keeps its id. An endpoint that is disabled is a conflict."""
    here = deployment(request)

    def make(_: str) -> tuple[int, Any]:
        check_empty(body)
        return 200, retried(here.ledger.messages.retry(delivery_id, utc_now(), webhook_id))

    return once(request, key, repeatable, delivery_id, make)


def without_secret(data: dict[str, Any]) -> dict[str, Any]:
    """An answer as it is given a second time."""
    return {name: value for name, value in data.items() if name != "secret"}


def check_empty(body: dict[str, Any]) -> None:
    """Refuse a body with anything in it."""
    check_names(body, ())
