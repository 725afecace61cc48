"""Scheduled exports as a caller describes them: what is checked before the ledger keeps one."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from export_pipeline import ids
from export_pipeline.delivery.addresses import destination
from export_pipeline.delivery.mail import check_address, check_server
from export_pipeline.errors import Conflict, InvalidRequest, NotFound
from export_pipeline.exports.request import (
    Filters,
    check_compression,
    check_data_types,
    check_filters,
    check_format,
)
from export_pipeline.exports.scheduled import changed_day, check_goes_on, first_day
from export_pipeline.given import check_names, kind, one_of
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.schedules import (
    FREQUENCIES,
    FULL,
    INCREMENTAL,
    MODES,
    Recipient,
    Schedule,
    Wanted,
)
from export_pipeline.settings import Settings

FIELDS = (
    "frequency",
    "dataTypes",
    "format",
    "compression",
    "filters",
    "delivery",
    "mode",
    "enabled",
)
_DEFAULTS: Mapping[str, Any] = {"dataTypes": ["events"], "format": "jsonl", "compression": "gzip"}
DELIVERIES = ("webhookId", "url", "email")


def create(
    settings: Settings,
    ledger: Ledger,
    values: Mapping[str, object],
    now: datetime,
    *,
    created_by: str,
    schedule_id: str | None = None,
) -> tuple[Schedule, str | None]:
    """A new schedule as ``values``, keyed as in the REST body, describe it, and the secret of the endpoint
    that was made for it.

    Its first delivery is the last one whose day has come.

    Raises:
        InvalidRequest: naming the field.
    """
    check_names(values, FIELDS)
    for name in ("frequency", "delivery"):
        if name not in values:
            raise InvalidRequest(f"{name} is missing; it must be given", field=name)
    wanted = _wanted(values, None, (), now)
    recipient = _recipient(settings, ledger, values["delivery"])
    return ledger.schedules.create(wanted, recipient, created_by, now, schedule_id)


def change(
    settings: Settings, ledger: Ledger, schedule_id: str, values: Mapping[str, object], now: datetime
) -> tuple[Schedule, str | None]:
    """Change what ``values`` name of a schedule; ``filters`` are replaced as a whole.

    Raises:
        InvalidRequest: naming the field.
        NotFound: if there is none with this id.
        Conflict: if somebody else changes it, or it is to be enabled with a filter that named a person who
            was erased.
    """
    check_names(values, FIELDS)
    before = ledger.schedules.get(schedule_id)
    wanted = _wanted(values, before, ledger.schedules.user_ids(schedule_id), now)
    if wanted.mode == INCREMENTAL:
        check_goes_on(settings, ledger, before, wanted.request["dataTypes"], now)
    recipient = _recipient(settings, ledger, values["delivery"]) if "delivery" in values else None
    if wanted.enabled and wanted.request["filters"]["userCount"] != len(wanted.user_ids):
        raise Conflict(f"schedule {schedule_id} is disabled: {before.reason}", field="filters")
    return ledger.schedules.change(before, wanted, recipient, now)


def _wanted(
    values: Mapping[str, object], before: Schedule | None, user_ids: Sequence[str], now: datetime
) -> Wanted:
    """What a schedule is to be: what is given, else what it is, else the defaults."""
    asked = before.request if before else _DEFAULTS
    data_types = check_data_types(values.get("dataTypes", asked["dataTypes"]))
    kept = asked.get("filters", {})
    given = {name: kept[name] for name in ("contentIds", "eventTypes") if kept.get(name)}
    filters = check_filters(values.get("filters", given), data_types)
    user_count = len(filters.user_ids)
    if "filters" not in values and before:
        filters = Filters(filters.content_ids, tuple(user_ids), filters.event_types)
        user_count = kept["userCount"]
    frequency = one_of(values.get("frequency", before and before.frequency), FREQUENCIES, "frequency")
    next_day = changed_day(before, frequency) if before else first_day(frequency, now)
    return Wanted(
        frequency,
        one_of(values.get("mode", before.mode if before else FULL), MODES, "mode"),
        {
            "dataTypes": list(data_types),
            "format": check_format(values.get("format", asked["format"])),
            "compression": check_compression(values.get("compression", asked["compression"])),
            "filters": {
                "contentIds": list(filters.content_ids),
                "eventTypes": list(filters.event_types),
                "userCount": user_count,
            },
        },
        filters.user_ids,
        _enabled(values.get("enabled", before.enabled if before else True)),
        next_day,
    )


def _recipient(settings: Settings, ledger: Ledger, value: object) -> Recipient:
    if not isinstance(value, Mapping) or len(value) != 1 or next(iter(value)) not in DELIVERIES:
        raise InvalidRequest(
            f"delivery must be an object with one of {', '.join(DELIVERIES)}", field="delivery"
        )
    ((name, who),) = value.items()
    field = f"delivery.{name}"
    if name == "email":
        check_server(settings, field)
        return Recipient(address=check_address(who, field))
    if name == "url":
        try:
            destination(who, settings.allowed)
        except InvalidRequest as error:
            raise InvalidRequest(f"{field}: {error.message}", field=field) from None
        return Recipient(url=str(who))
    if not isinstance(who, str):
        raise InvalidRequest(f"{field} must be the id of an endpoint, {ids.WEBHOOK.right}", field=field)
    try:
        ledger.webhooks.get(who)
    except NotFound as error:
        raise InvalidRequest(f"{field}: {error.message}", field=field) from None
    return Recipient(webhook_id=who)


def _enabled(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidRequest(f"enabled is {kind(value)}; it must be true or false", field="enabled")
