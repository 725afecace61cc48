"""Which messages the end of an export job makes, as part of the transaction that ends it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from export_pipeline.ledger.posting import EXPORT_FAILED, EXPORT_READY, EXPORT_RESTATED, add, may_have_got
from export_pipeline.ledger.tables import messages, schedules
from export_pipeline.ledger.webhooks import subscribed


def announce_ready(connection: Connection, job: Row[Any], now: datetime) -> None:
    """Tell of a job that is complete; links to its files are made when the message is sent."""
    _announce(connection, EXPORT_READY, job, {}, now)


def announce_failed(connection: Connection, job: Row[Any], now: datetime) -> None:
    """Tell of a job that has failed, and why."""
    error = {"code": job.error_code, "message": job.error_message}
    _announce(connection, EXPORT_FAILED, job, {"error": error}, now)


def announce_restated(
    connection: Connection, job: Row[Any], now: datetime, *, told: Mapping[str, Any]
) -> None:
    """Tell whoever the export of a job was delivered to, or may have been, that there is another version."""
    got = (
        select(messages.c.webhook_id, messages.c.address)
        .where(*may_have_got(job.id))
        .order_by(messages.c.number)
    )
    data = {"exportId": job.id, "dateRange": job.request["dateRange"], **told}
    for row in dict.fromkeys(tuple(row) for row in connection.execute(got)):
        add(connection, EXPORT_RESTATED, data, now, job_id=job.id, webhook_id=row[0], address=row[1])


def _announce(
    connection: Connection, event: str, job: Row[Any], more: Mapping[str, Any], now: datetime
) -> None:
    for recipient in _recipients(connection, event, job):
        data = {"exportId": job.id, "dateRange": job.request["dateRange"], **more}
        add(connection, event, data, now, job_id=job.id, **recipient)


def _recipients(connection: Connection, event: str, job: Row[Any]) -> Sequence[Mapping[str, Any]]:
    """Who is told of a job: whoever subscribed, or the recipient of the schedule that asked for it."""
    if job.kind == "on_demand":
        return [{"webhook_id": webhook_id} for webhook_id in subscribed(connection, event)]
    query = select(schedules.c.webhook_id, schedules.c.address).where(schedules.c.id == job.created_by)
    if job.kind == "scheduled" and (row := connection.execute(query).one_or_none()):
        return [dict(row._mapping)]
    return []
