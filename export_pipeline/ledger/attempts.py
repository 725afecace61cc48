"""Who may send a message, and what an attempt changes: claims, and the outcomes of what was claimed.

A message that is sent is claimed until an instant. Whoever claimed it notes the outcome under that claim; a
process that dies notes nothing, and once its claim has ended the message is sent again, under the same id.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, func, insert, select, update

from export_pipeline.ledger.posting import FAILED, PENDING, SUCCESS, Message, message_of, unclaimed
from export_pipeline.ledger.tables import attempts, messages, webhooks
from export_pipeline.ledger.webhooks import ACTIVE, GONE, disable, note_attempt, note_failure, note_success

LEASE = timedelta(minutes=3)
"""How long a claim lasts: longer than any attempt."""
MAIL = "mail"
"""What all messages by e-mail go to: one server."""


@dataclass(frozen=True)
class Claimed:
    """A message that its claimer alone sends until the claim ends."""

    message: Message
    claim: str

    @property
    def target(self) -> str:
        """The endpoint it goes to, or ``MAIL``."""
        return self.message.webhook_id or MAIL


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt at a claimed message.

    ``at`` is when it ended; ``next_attempt_at`` None if none follows a failure; ``gone`` tells that the
    endpoint wants no more messages, ``ours`` that it failed before the receiver was asked.
    """

    claimed: Claimed
    success: bool
    at: datetime
    milliseconds: int
    code: int | None
    response: str
    error: str | None
    next_attempt_at: datetime | None = None
    gone: bool = False
    ours: bool = False
    request_headers: Mapping[str, str] = field(default_factory=dict)
    response_headers: Mapping[str, str] = field(default_factory=dict)


class Attempts:
    """Claims and outcomes of one deployment; safe to share between threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def turn(
        self,
        outcomes: Sequence[Outcome],
        now: datetime,
        room: int,
        busy: Mapping[str, int],
        most_each: int,
    ) -> tuple[list[Claimed], list[Message]]:
        """Note outcomes and claim messages that are due, in one transaction.

        Args:
            room: how many to claim at most.
            busy: by target, how many messages the caller sends at the moment, those of ``outcomes`` left out.
            most_each: how many it sends to one target at most.

        Returns:
            What was claimed, each target having its turn; and the messages of ``outcomes`` as they are now,
            without those whose claim was lost.
        """
        with self._engine.begin() as connection:
            noted = [message for outcome in outcomes if (message := _note(connection, outcome))]
            return _claim(connection, now, room, busy, most_each), noted


def _claim(
    connection: Connection, now: datetime, room: int, busy: Mapping[str, int], most_each: int
) -> list[Claimed]:
    if room < 1:
        return []
    target = func.coalesce(messages.c.webhook_id, MAIL)
    due = (
        select(
            messages.c.id,
            target.label("target"),
            messages.c.next_attempt_at,
            messages.c.number,
            func.row_number()
            .over(partition_by=target, order_by=(messages.c.next_attempt_at, messages.c.number))
            .label("place"),
        )
        .where(messages.c.state == PENDING, messages.c.next_attempt_at <= now, unclaimed(now))
        .subquery()
    )
    query = (
        select(due.c.id, due.c.target, due.c.place)
        .where(due.c.place <= most_each)
        .order_by(due.c.place, due.c.next_attempt_at, due.c.number)
    )
    free = [row.id for row in connection.execute(query) if row.place + busy.get(row.target, 0) <= most_each]
    if not free:
        return []
    claim = uuid.uuid4().hex
    claimed = (
        update(messages)
        .where(messages.c.id.in_(free[:room]))
        .values(claim=claim, claimed_until=now + LEASE)
        .returning(*messages.c)
    )
    # An update returns its rows in no order.
    rows = {row.id: row for row in connection.execute(claimed)}
    return [Claimed(message_of(rows[each]), claim) for each in free if each in rows]


def _note(connection: Connection, outcome: Outcome) -> Message | None:
    """Note an outcome; None if the message is not its claimer's any more."""
    message = outcome.claimed.message
    mine = (messages.c.id == message.id, messages.c.claim == outcome.claimed.claim)
    number = connection.execute(select(messages.c.attempts).where(*mine)).scalar()
    if number is None:
        return None
    connection.execute(
        insert(attempts).values(
            message_id=message.id,
            number=number + 1,
            at=outcome.at,
            milliseconds=outcome.milliseconds,
            code=outcome.code,
            response=outcome.response,
            error=outcome.error,
            request_headers=dict(outcome.request_headers),
            response_headers=dict(outcome.response_headers),
        )
    )
    again = outcome.next_attempt_at if not (outcome.success or message.test) else None
    if message.webhook_id is not None:
        note_attempt(connection, message.webhook_id, outcome.at)
        if outcome.success:
            note_success(connection, message.webhook_id)
        elif not message.test:
            if not outcome.ours:
                note_failure(connection, message.webhook_id, outcome.at, outcome.gone)
            status = select(webhooks.c.status).where(webhooks.c.id == message.webhook_id)
            again = again if connection.execute(status).scalar() == ACTIVE else None
        elif outcome.gone:
            disable(connection, message.webhook_id, GONE, outcome.at)
    ended = outcome.success or again is None
    row = connection.execute(
        update(messages)
        .where(*mine)
        .values(
            state=SUCCESS if outcome.success else FAILED if again is None else PENDING,
            attempts=number + 1,
            next_attempt_at=again,
            claim=None,
            claimed_until=None,
            ended_at=outcome.at if ended else None,
        )
        .returning(*messages.c)
    ).one()
    return message_of(row)
