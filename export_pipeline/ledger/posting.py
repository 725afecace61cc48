"""What a message of the outbox is, and putting one into it within the transaction of what it tells of.

So neither is there without the other. A message is ``pending`` until an attempt was a success, or none is
left and it has ``failed``. What is kept of one holds no link: links are made when it is sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from export_pipeline import ids
from export_pipeline.ledger.tables import attempts, messages, webhooks

PENDING, SUCCESS, FAILED = "pending", "success", "failed"
STATES = (PENDING, SUCCESS, FAILED)
NO_ANSWER = "no answer"
"""How the error of an attempt begins of which nobody knows whether the message arrived."""

EXPORT_READY, EXPORT_FAILED = "export.ready", "export.failed"
EXPORT_RESTATED, USER_ERASED = "export.restated", "user.erased"
EVENTS = (EXPORT_READY, EXPORT_FAILED, EXPORT_RESTATED, USER_ERASED)
"""What an endpoint can subscribe to."""
OPERATOR_ALERT = "operator.alert"
"""By e-mail to the operator only."""


@dataclass(frozen=True)
class Message:
    """A message as the outbox holds it; it goes to ``webhook_id``, or by e-mail if that is None.

    ``data`` is what does not change until it is sent; ``error`` why it ended without an attempt; instants are
    UTC.
    """

    id: str
    number: int
    event: str
    webhook_id: str | None
    job_id: str | None
    data: Mapping[str, Any]
    test: bool
    state: str
    attempts: int
    next_attempt_at: datetime | None
    error: str | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class NewMessage:
    """A message to be put into the outbox; see ``add``."""

    event: str
    data: Mapping[str, Any]
    webhook_id: str | None = None
    address: bytes | None = field(default=None, repr=False)
    job_id: str | None = None
    once: str | None = None


def add(
    connection: Connection,
    event: str,
    data: Mapping[str, Any],
    now: datetime,
    *,
    webhook_id: str | None = None,
    address: bytes | None = None,
    job_id: str | None = None,
    once: str | None = None,
) -> str | None:
    """Put a message into the outbox as part of a transaction; it is due at once.

    To an endpoint that is disabled it has failed from the beginning, and can be retried.

    Args:
        webhook_id: the endpoint it goes to, or
        address: the e-mail address, as ``Messages.sealed`` gives it.
        job_id: the job whose files it links to.
        once: a text of which at most one message is ever made.

    Returns:
        Its id; None if there was one for ``once`` before.
    """
    if once is not None:
        known = connection.execute(select(messages.c.id).where(messages.c.once == once)).scalar()
        if known is not None:
            return None
    state: dict[str, Any] = {"state": PENDING, "next_attempt_at": now}
    if webhook_id is not None and not is_active(connection, webhook_id):
        state = {"state": FAILED, "ended_at": now, "error": "the endpoint is disabled"}
    return insert_message(
        connection,
        event=event,
        data=dict(data),
        webhook_id=webhook_id,
        address=address,
        job_id=job_id,
        once=once,
        test=False,
        created_at=now,
        **state,
    )


def insert_message(connection: Connection, *, message_id: str | None = None, **values: Any) -> str:
    last = connection.execute(select(func.max(messages.c.number))).scalar() or 0
    message_id = message_id or ids.DELIVERY.new()
    connection.execute(insert(messages).values(id=message_id, number=last + 1, attempts=0, **values))
    return message_id


def is_active(connection: Connection, webhook_id: str) -> bool:
    status = connection.execute(select(webhooks.c.status).where(webhooks.c.id == webhook_id)).scalar()
    return bool(status == "active")


def fail_waiting(connection: Connection, webhook_id: str, error: str, now: datetime) -> None:
    """End the messages that wait for an endpoint; what is being sent at ``now`` is left to who sends it."""
    connection.execute(
        update(messages)
        .where(messages.c.webhook_id == webhook_id, messages.c.state == PENDING, unclaimed(now))
        .values(state=FAILED, next_attempt_at=None, claim=None, claimed_until=None, ended_at=now, error=error)
    )


def may_have_got(job_id: str) -> tuple[ColumnElement[bool], ...]:
    """The messages that told of a job's export, or may have: a receiver whose answer did not come takes the
    same message, sent again with later files, for one that it has seen."""
    unanswered = select(attempts.c.message_id).where(attempts.c.error.startswith(NO_ANSWER))
    return (
        messages.c.job_id == job_id,
        messages.c.event == EXPORT_READY,
        or_(messages.c.state == SUCCESS, messages.c.claim.is_not(None), messages.c.id.in_(unanswered)),
    )


def unclaimed(now: datetime) -> ColumnElement[bool]:
    """Whether nobody sends a message at ``now``: a claim that was not answered in time counts no more."""
    return messages.c.claimed_until.is_(None) | (messages.c.claimed_until <= now)


def message_of(row: Row[Any]) -> Message:
    """The message that a row of the table is."""
    return Message(
        row.id,
        row.number,
        row.event,
        row.webhook_id,
        row.job_id,
        row.data,
        row.test,
        row.state,
        row.attempts,
        row.next_attempt_at,
        row.error,
        row.created_at,
        row.ended_at,
    )
