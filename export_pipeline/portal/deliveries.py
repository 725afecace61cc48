"""One delivery, to a webhook or by e-mail: what is sent, every attempt with its answer; sending it again."""

import json
from datetime import timedelta

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from export_pipeline.api.deployment import deployment
from export_pipeline.days import utc_now
from export_pipeline.delivery import payloads
from export_pipeline.errors import ExportPipelineError, NotFound
from export_pipeline.ledger.posting import PENDING, Message
from export_pipeline.portal import saying
from export_pipeline.portal.auditing import note
from export_pipeline.portal.guards import member
from export_pipeline.portal.pages import code_of, page

router = APIRouter(dependencies=[Depends(member)])

_SOON = timedelta(minutes=2)
"""A page whose delivery is tried again within this time follows it."""
_DONE = {"retried": "It is sent again in a moment."}


def path_of(message: Message) -> str:
    """The page of a message, below the portal's."""
    to = f"/webhooks/{message.webhook_id}/deliveries" if message.webhook_id else "/mails"
    return f"{to}/{message.id}"


@router.get("/webhooks/{webhook_id}/deliveries/{delivery_id}")
def of_webhook(request: Request, webhook_id: str, delivery_id: str) -> Response:
    """A delivery to an endpoint."""
    found = deployment(request).ledger.messages.get(delivery_id, webhook_id)
    return _page(request, found, said=saying.take(request, _DONE))


@router.get("/mails/{delivery_id}")
def by_mail(request: Request, delivery_id: str) -> Response:
    """A delivery by e-mail."""
    return _page(request, _mail(request, delivery_id), said=saying.take(request, _DONE))


@router.post("/webhooks/{webhook_id}/deliveries/{delivery_id}/retry")
def retry_to_webhook(request: Request, webhook_id: str, delivery_id: str) -> Response:
    """Make a delivery due now."""
    return _retried(request, deployment(request).ledger.messages.get(delivery_id, webhook_id))


@router.post("/mails/{delivery_id}/retry")
def retry_by_mail(request: Request, delivery_id: str) -> Response:
    """Make a delivery due now."""
    return _retried(request, _mail(request, delivery_id))


def _mail(request: Request, delivery_id: str) -> Message:
    found = deployment(request).ledger.messages.get(delivery_id)
    if found.webhook_id is not None:
        raise NotFound("there is no such e-mail", field="deliveryId")
    return found


def _retried(request: Request, message: Message) -> Response:
    try:
        deployment(request).ledger.messages.retry(message.id, utc_now(), message.webhook_id)
    except NotFound:
        raise
    except ExportPipelineError as error:
        return _page(request, message, problem=error.message, code=code_of(error))
    note(request, "retried a delivery", message.id)
    return saying.say_at(request, path_of(message), "retried")


def _page(
    request: Request, message: Message, *, said: str = "", problem: str = "", code: int = 200
) -> Response:
    here, now = deployment(request), utc_now()
    webhook = here.ledger.webhooks.get(message.webhook_id) if message.webhook_id else None
    payload = payloads.shown(here.settings, here.ledger, message, now)
    is_soon = message.next_attempt_at is not None and message.next_attempt_at < now + _SOON
    return page(
        request,
        "delivery.html",
        code,
        webhook=webhook,
        address=None if webhook else here.ledger.messages.address(message.id),
        at=path_of(message),
        follows=message.state == PENDING and is_soon and not problem,
        message=message,
        attempts=here.ledger.messages.attempts([message.id])[message.id],
        payload=json.dumps(payload, indent=2, ensure_ascii=False),
        said=said,
        problem=problem,
    )
