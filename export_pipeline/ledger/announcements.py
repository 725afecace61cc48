"""Which messages the end of an export job makes, as part of the transaction that ends it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from export_pipeline.ledger.messages import EXPORT_FAILED, EXPORT_READY, add
from export_pipeline.ledger.webhooks import subscribed


def announce_ready(connection: Connection, job: Row[Any], now: datetime) -> None:
    """Tell of a job that is complete; links to its files are made when the message is sent."""
    _announce(connection, EXPORT_READY, job, {}, now)


def announce_failed(connection: Connection, job: Row[Any], now: datetime) -> None:
    """Tell of a job that has failed, and why."""
    error = {"code": job.error_code, "message": job.error_message}
    _announce(connection, EXPORT_FAILED, job, {"error": error}, now)


def _announce(
    connection: Connection, event: str, job: Row[Any], more: Mapping[str, Any], now: datetime
) -> None:
    if job.kind != "on_demand":
        return
    for webhook_id in subscribed(connection, event):
        data = {"exportId": job.id, "dateRange": job.request["dateRange"], **more}
        add(connection, event, data, now, webhook_id=webhook_id, job_id=job.id)
