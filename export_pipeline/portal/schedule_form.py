"""The form of a scheduled export: its fields as the REST body's, and the words in which errors are told."""

from collections.abc import Mapping, Sequence
from typing import Any

from export_pipeline.errors import ExportPipelineError, InvalidRequest
from export_pipeline.ledger.schedules import DAILY, FULL, INCREMENTAL, WEEKLY, Schedule
from export_pipeline.portal.export_form import Option
from export_pipeline.portal.forms import Form

FREQUENCIES = (
    Option(DAILY, "Every day", "the day before"),
    Option(WEEKLY, "Every Monday", "the seven days before"),
)
MODES = (
    Option(FULL, "All rows of the days"),
    Option(INCREMENTAL, "What is new", "rows that came since the last one, whatever day they are of"),
)
_NO_MAIL = "not possible yet: whoever runs this deployment has to name a mail server"
SWITCH = (Option("on", "Make and deliver it from now on"),)
ALL_USERS = (Option("on", "Deliver all users from now on"),)

_MISSING = {
    "webhookId": "Choose a webhook.",
    "url": "Type the address to send to, https://…",
    "email": "Type the address to send to.",
}
_FIELDS = {
    "filters": "userIds",
    "delivery": "to",
    **{f"filters.{name}": name for name in ("contentIds", "userIds", "eventTypes")},
    **{f"delivery.{name}": name for name in _MISSING},
}
_WORDS = {
    "delivery.email": "address",
    "delivery.url": "address",
    "delivery.webhookId": "webhook",
    "filters.contentIds": "content ids",
    "filters.userIds": "user ids",
    "filters.eventTypes": "event types",
    "dataTypes": "data types",
}


def deliveries(mail: bool) -> tuple[Option, ...]:
    """Ways to deliver; ``mail``: whether there is a mail server."""
    return (
        Option("webhookId", "A webhook", "that is there"),
        Option("url", "A new webhook"),
        Option("email", "E-mail", "with a link" if mail else _NO_MAIL),
    )


def fresh(webhooks: bool, webhook: str = "") -> Form:
    """The form of a new schedule; ``webhooks``: whether there are some to choose; ``webhook``: one."""
    return Form(
        {
            "frequency": [WEEKLY],
            "dataTypes": ["events"],
            "format": ["jsonl"],
            "compression": ["gzip"],
            "mode": [FULL],
            "to": ["webhookId" if webhooks else "url"],
            "webhookId": [webhook],
            "enabled": ["on"],
        }
    )


def filled(schedule: Schedule, address: str | None) -> Form:
    """The form with what a schedule is now; the users its filter names are not in it."""
    request, filters = schedule.request, schedule.request["filters"]
    return Form(
        {
            "frequency": [schedule.frequency],
            "dataTypes": request["dataTypes"],
            "format": [request["format"]],
            "compression": [request["compression"]],
            "mode": [schedule.mode],
            "eventTypes": filters["eventTypes"],
            "contentIds": ["\n".join(filters["contentIds"])],
            "to": ["email" if schedule.webhook_id is None else "webhookId"],
            "webhookId": [schedule.webhook_id or ""],
            "email": [address or ""],
            "enabled": ["on"] if schedule.enabled else [],
        }
    )


def asked(form: Form) -> dict[str, Any]:
    """What a form for a new schedule asks for, keyed as in the REST body.

    Raises:
        InvalidRequest: naming a field that was left out.
    """
    if not form.all("dataTypes"):
        raise InvalidRequest("Choose at least one data type.", field="dataTypes")
    return {
        "frequency": form.text("frequency"),
        "dataTypes": list(form.all("dataTypes")),
        "format": form.text("format"),
        "compression": form.text("compression"),
        "mode": form.text("mode"),
        "enabled": form.text("enabled") == "on",
        "filters": _filters(form),
        "delivery": _delivery(form),
    }


def changed(form: Form, before: Schedule, address: str | None, user_ids: Sequence[str]) -> dict[str, Any]:
    """What a form changes of a schedule, keyed as in the REST body. Users named before stay named.

    Args:
        address: where it goes by e-mail now.
        user_ids: whom its filter names now; empty if one of them was erased.

    Raises:
        InvalidRequest: naming a field that was left out, or users that are not known any more.
    """
    values = asked(form)
    here = {"email": address} if before.webhook_id is None else {"webhookId": before.webhook_id}
    if values["delivery"] == here:
        del values["delivery"]
    kept, filters = before.request["filters"], values["filters"]
    if kept["userCount"] and "userIds" not in filters and form.text("allUsers") != "on":
        if all(filters.get(name, []) == kept[name] for name in ("contentIds", "eventTypes")):
            del values["filters"]
        elif len(user_ids) == kept["userCount"]:
            filters["userIds"] = list(user_ids)
        else:
            raise InvalidRequest(
                "A person this filter named was erased: name the users again, or deliver all.",
                field="userIds",
            )
    return values


def _filters(form: Form) -> dict[str, list[str]]:
    given: Mapping[str, Sequence[str]] = {
        "contentIds": form.lines("contentIds"),
        "userIds": form.lines("userIds"),
        "eventTypes": form.all("eventTypes"),
    }
    return {name: list(dict.fromkeys(values)) for name, values in given.items() if values}


def _delivery(form: Form) -> dict[str, str]:
    to = form.text("to")
    if to not in _MISSING:
        raise InvalidRequest("Choose where it goes.", field="to")
    if not form.text(to):
        raise InvalidRequest(_MISSING[to], field=to)
    return {to: form.text(to)}


def told(form: Form, error: ExportPipelineError) -> Form:
    """The form with an error at its field, its names as the form shows them."""
    message = error.message
    for name, words in _WORDS.items():
        message = message.replace(name, words)
    return form.told(ExportPipelineError(message[:1].upper() + message[1:], field=error.field), _FIELDS)
