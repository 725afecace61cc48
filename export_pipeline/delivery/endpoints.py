"""Endpoints as a caller describes them: what is checked before the ledger keeps one."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from export_pipeline.delivery.addresses import destination
from export_pipeline.errors import InvalidRequest
from export_pipeline.given import check_names, one_of, shown
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.posting import EVENTS
from export_pipeline.ledger.webhooks import STATUSES, Webhook
from export_pipeline.settings import Settings

LONGEST_DESCRIPTION = 500


def create(
    settings: Settings,
    ledger: Ledger,
    values: Mapping[str, object],
    now: datetime,
    webhook_id: str | None = None,
) -> tuple[Webhook, str]:
    """A new endpoint as ``values``, keyed as in the REST body, describe it, and its secret.

    Raises:
        InvalidRequest: naming the field.
    """
    given = _checked(settings, values, ("url", "events", "description"))
    for name in ("url", "events"):
        if name not in given:
            raise InvalidRequest(f"{name} is missing; it must be given", field=name)
    return ledger.webhooks.create(
        given["url"], given["events"], given.get("description", ""), now, webhook_id
    )


def change(
    settings: Settings, ledger: Ledger, webhook_id: str, values: Mapping[str, object], now: datetime
) -> Webhook:
    """Change what ``values`` name of an endpoint.

    Raises:
        InvalidRequest: naming the field.
        NotFound: if there is none with this id.
    """
    given = _checked(settings, values, ("url", "events", "description", "status"))
    return ledger.webhooks.change(webhook_id, now, **given)


def check_event(event: object) -> str:
    """An event that endpoints can be sent.

    Raises:
        InvalidRequest: naming ``event``.
    """
    if not isinstance(event, str) or event not in EVENTS:
        told = "missing" if event is None else shown(event)
        raise InvalidRequest(f"event is {told}; it must be one of {', '.join(EVENTS)}", field="event")
    return event


def _checked(settings: Settings, values: Mapping[str, object], fields: tuple[str, ...]) -> dict[str, Any]:
    check_names(values, fields)
    checks = {"url": _url, "events": _events, "description": _description, "status": _status}
    return {name: checks[name](settings, value) for name, value in values.items()}


def _url(settings: Settings, value: object) -> str:
    destination(value, settings.allowed)
    return str(value)


def _events(_: Settings, value: object) -> list[str]:
    known = ", ".join(EVENTS)
    if not isinstance(value, list) or not value:
        raise InvalidRequest(f"events must be a list of at least one of {known}", field="events")
    for event in value:
        if event not in EVENTS:
            raise InvalidRequest(f"events has {shown(event)}; each must be one of {known}", field="events")
    return list(dict.fromkeys(value))


def _description(_: Settings, value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_DESCRIPTION or "\0" in value:
        raise InvalidRequest(
            f"description must be a text of at most {LONGEST_DESCRIPTION} characters", field="description"
        )
    return value


def _status(_: Settings, value: object) -> str:
    return one_of(value, STATUSES, "status")
