"""The outbox: messages to endpoints and by e-mail, and what became of them (contract, section 5).

``posting`` owns what a message is and how one comes in; ``attempts`` who may try and what an attempt changes.
"""

import hashlib
import hmac
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from export_pipeline import ids, secrets
from export_pipeline.errors import Conflict
from export_pipeline.ledger.engine import reading
from export_pipeline.ledger.paging import check_status, read_page
from export_pipeline.ledger.posting import (
    FAILED,
    OPERATOR_ALERT,
    PENDING,
    STATES,
    SUCCESS,
    Message,
    NewMessage,
    add,
    insert_message,
    is_active,
    may_have_got,
    message_of,
    unclaimed,
)
from export_pipeline.ledger.sealing import Seal
from export_pipeline.ledger.tables import attempts, jobs, messages, notices, webhooks
from export_pipeline.settings import Settings

_SEAL = "addresses"
_MOST_FORGOTTEN = 5000


@dataclass(frozen=True)
class Receiver:
    """Who a message was delivered to: an endpoint, or whoever reads an e-mail address."""

    webhook_id: str | None
    address: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Attempt:
    """One attempt at a message: when it ended, how long it took, and what the receiver answered. Of the
    headers those are left out that are secret."""

    number: int
    at: datetime
    milliseconds: int
    code: int | None
    response: str
    error: str | None
    request_headers: Mapping[str, str]
    response_headers: Mapping[str, str]


@dataclass(frozen=True)
class Stats:
    """How many messages went to an endpoint, and when the last attempt was made."""

    total: int = 0
    successful: int = 0
    failed: int = 0
    last_at: datetime | None = None


class Messages:
    """The outbox of one deployment; safe to share between threads. Every method is one transaction."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._seal = Seal(settings, _SEAL)
        self._key = partial(secrets.key, settings, _SEAL)

    def sealed(self, address: str) -> bytes:
        """An e-mail address as it is kept: encrypted."""
        return self._seal.close(address)

    def fingerprint(self, address: str) -> str:
        """A text that stands for an e-mail address and tells nobody which."""
        return hmac.new(self._key(), address.encode(), hashlib.sha256).hexdigest()

    def send_all(self, new: Iterable[NewMessage], now: datetime) -> tuple[str, ...]:
        """Put messages into the outbox in one transaction; the ids of those that were not there before."""
        with self._engine.begin() as connection:
            made = [add(connection, now=now, **vars(message)) for message in new]
        return tuple(message_id for message_id in made if message_id is not None)

    def tell(
        self, current: Mapping[str, str], address: str, now: datetime, again_after: timedelta
    ) -> tuple[str, ...]:
        """Put an e-mail into the outbox that tells of what was not told of before.

        Args:
            current: everything there is to tell at ``now``, by its subject.
            again_after: how long after it was told something that went away and came back is told again.

        Returns:
            The subjects that it tells of.
        """
        with self._engine.begin() as connection:
            gone = notices.c.subject.not_in(tuple(current)), notices.c.told_at <= now - again_after
            connection.execute(delete(notices).where(*gone))
            told = set(connection.execute(select(notices.c.subject)).scalars())
            new = tuple(subject for subject in current if subject not in told)
            if new:
                data = {"subject": _subject(current, new), "alerts": [current[subject] for subject in new]}
                add(connection, OPERATOR_ALERT, data, now, address=self.sealed(address))
                connection.execute(insert(notices), [{"subject": s, "told_at": now} for s in new])
        return new

    def add_test(
        self,
        message_id: str,
        event: str,
        data: Mapping[str, Any],
        webhook_id: str,
        claim: str,
        claimed_until: datetime,
        now: datetime,
    ) -> bool:
        """Put a message into the outbox that is sent once, by its maker; False if it was there already.

        Raises:
            NotFound: if there is no such endpoint.
        """
        with self._engine.begin() as connection:
            if connection.execute(select(messages.c.id).where(messages.c.id == message_id)).scalar():
                return False
            _check_webhook(connection, webhook_id)
            insert_message(
                connection,
                message_id=message_id,
                event=event,
                data=dict(data),
                webhook_id=webhook_id,
                test=True,
                state=PENDING,
                next_attempt_at=now,
                claim=claim,
                claimed_until=claimed_until,
                created_at=now,
            )
            return True

    def address(self, message_id: str) -> str:
        """The address of a message by e-mail.

        Raises:
            NotFound: if there is no such message.
        """
        with reading(self._engine) as connection:
            held = connection.execute(select(messages.c.address).where(messages.c.id == message_id)).scalar()
        if held is None:
            raise ids.DELIVERY.unknown(message_id)
        return self._seal.open(held)

    def get(self, message_id: str, webhook_id: str | None = None) -> Message:
        """A message.

        Args:
            webhook_id: only if it went to this endpoint.

        Raises:
            NotFound: if there is none with this id.
        """
        with reading(self._engine) as connection:
            return message_of(_one(connection, message_id, webhook_id))

    def list(
        self,
        webhook_id: str | None = None,
        *,
        limit: int = 20,
        status: str | None = None,
        cursor: str | None = None,
    ) -> tuple[tuple[Message, ...], str | None, int]:
        """Messages newest first, the cursor of the next page (None on the last), and how many there are.

        Args:
            webhook_id: only those to this endpoint; default: all, those by e-mail too.

        Raises:
            NotFound: if there is no such endpoint.
            InvalidRequest: naming ``limit``, ``status`` or ``cursor``.
        """
        check_status(status, STATES)
        wanted: list[ColumnElement[bool]] = (
            [] if webhook_id is None else [messages.c.webhook_id == webhook_id]
        )
        if status is not None:
            wanted.append(messages.c.state == status)
        with reading(self._engine) as connection:
            if webhook_id is not None:
                _check_webhook(connection, webhook_id)
            rows, following, total = read_page(connection, messages, wanted, limit, cursor)
        return tuple(message_of(row) for row in rows), following, total

    def attempts(self, message_ids: Iterable[str]) -> Mapping[str, Sequence[Attempt]]:
        """The attempts at each of some messages, oldest first."""
        wanted = tuple(message_ids)
        found: dict[str, tuple[Attempt, ...]] = dict.fromkeys(wanted, ())
        query = select(attempts).where(attempts.c.message_id.in_(wanted)).order_by(attempts.c.number)
        with reading(self._engine) as connection:
            for row in connection.execute(query):
                _, *told = row
                found[row.message_id] += (Attempt(*told),)
        return found

    def receivers(self, job_id: str) -> tuple[Receiver, ...]:
        """Who the export of a job was delivered to, or may have been."""
        query = (
            select(messages.c.webhook_id, messages.c.address)
            .where(*may_have_got(job_id))
            .order_by(messages.c.number)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        found = (Receiver(row[0], None if row[1] is None else self._seal.open(row[1])) for row in rows)
        return tuple(dict.fromkeys(found))

    def stats(self, webhook_ids: Iterable[str]) -> dict[str, Stats]:
        """Of each of some endpoints: how its messages went."""
        wanted = tuple(webhook_ids)
        counted = (
            select(messages.c.webhook_id, messages.c.state, func.count())
            .where(messages.c.webhook_id.in_(wanted))
            .group_by(messages.c.webhook_id, messages.c.state)
        )
        kept = (webhooks.c.last_attempt_at, webhooks.c.forgotten_successes, webhooks.c.forgotten_failures)
        about = select(webhooks.c.id, *kept).where(webhooks.c.id.in_(wanted))
        found: dict[str, dict[str, int]] = {webhook_id: {} for webhook_id in wanted}
        with reading(self._engine) as connection:
            for webhook_id, state, count in connection.execute(counted):
                found[webhook_id][state] = count
            last = dict[str, datetime | None]()
            for webhook_id, last_at, successes, failures in connection.execute(about):
                last[webhook_id] = last_at
                for state, forgotten in ((SUCCESS, successes), (FAILED, failures)):
                    found[webhook_id][state] = found[webhook_id].get(state, 0) + forgotten
        return {
            webhook_id: Stats(
                sum(states.values()), states.get(SUCCESS, 0), states.get(FAILED, 0), last.get(webhook_id)
            )
            for webhook_id, states in found.items()
        }

    def ended(self, before: datetime) -> int:
        """How many messages ended before ``before``, those about exports that are still there left out."""
        query = select(func.count()).select_from(messages).where(*_over(before))
        with reading(self._engine) as connection:
            return connection.execute(query).scalar() or 0

    def forget(self, before: datetime) -> int:
        """Remove the messages that ``ended`` counts with their attempts; how many there were. Endpoints go on
        counting them."""
        gone = 0
        while some := self._forget_some(before):
            gone += some
        return gone

    def _forget_some(self, before: datetime) -> int:
        # A few at a time, as nobody else writes meanwhile.
        some = select(messages.c.id).where(*_over(before)).limit(_MOST_FORGOTTEN)
        with self._engine.begin() as connection:
            rows = connection.execute(
                delete(messages)
                .where(messages.c.id.in_(some))
                .returning(messages.c.webhook_id, messages.c.state)
            ).all()
            for (webhook_id, state), count in Counter(tuple(row) for row in rows).items():
                counted = (
                    webhooks.c.forgotten_successes if state == SUCCESS else webhooks.c.forgotten_failures
                )
                connection.execute(
                    update(webhooks).where(webhooks.c.id == webhook_id).values({counted: counted + count})
                )
        return len(rows)

    def waiting(self, now: datetime) -> tuple[int, datetime | None]:
        """How many messages are due and nobody sends, and when the next one of the others is due."""
        due = (messages.c.state == PENDING, messages.c.next_attempt_at <= now, unclaimed(now))
        later = func.min(messages.c.next_attempt_at, type_=messages.c.next_attempt_at.type)
        with reading(self._engine) as connection:
            count = connection.execute(select(func.count()).select_from(messages).where(*due)).scalar()
            following = connection.execute(
                select(later).where(messages.c.state == PENDING, messages.c.next_attempt_at > now)
            ).scalar()
        return count or 0, following

    def last_success(self) -> datetime | None:
        """When a message last arrived; None if none of those that are kept has."""
        query = select(messages.c.ended_at).where(
            messages.c.state == SUCCESS, messages.c.ended_at.is_not(None)
        )
        with reading(self._engine) as connection:
            return connection.execute(query.order_by(messages.c.ended_at.desc()).limit(1)).scalar()

    def failed_since(self, since: datetime) -> dict[str | None, int]:
        """How many messages failed for good after an instant, by endpoint; None stands for e-mail."""
        query = (
            select(messages.c.webhook_id, func.count())
            .where(messages.c.state == FAILED, messages.c.ended_at > since, messages.c.test.is_(False))
            .group_by(messages.c.webhook_id)
            .order_by(messages.c.webhook_id.nulls_first())
        )
        with reading(self._engine) as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def retry(self, message_id: str, now: datetime, webhook_id: str | None = None) -> Message:
        """Make a message due now, whatever became of it before.

        Args:
            webhook_id: only if it went to this endpoint.

        Raises:
            NotFound: if there is none with this id.
            Conflict: if its endpoint is disabled.
        """
        with self._engine.begin() as connection:
            held = _one(connection, message_id, webhook_id)
            if held.webhook_id is not None and not is_active(connection, held.webhook_id):
                raise Conflict(
                    f"the webhook {held.webhook_id} is disabled; set its status to active first",
                    field="webhookId",
                )
            connection.execute(
                update(messages)
                .where(messages.c.id == message_id)
                .values(state=PENDING, next_attempt_at=now, ended_at=None, error=None)
            )
            return message_of(_one(connection, message_id, webhook_id))


def _over(before: datetime) -> tuple[ColumnElement[bool], ...]:
    # Who got an export is told when it changes.
    there = select(jobs.c.id).where(jobs.c.id == messages.c.job_id, jobs.c.state == "complete")
    return messages.c.ended_at < before, ~there.exists()


def _subject(current: Mapping[str, str], new: Sequence[str]) -> str:
    more = f" and {len(new) - 1} more" if len(new) > 1 else ""
    return f"Exports: {current[new[0]]}{more}"


def _check_webhook(connection: Connection, webhook_id: str) -> None:
    if connection.execute(select(webhooks.c.id).where(webhooks.c.id == webhook_id)).scalar() is None:
        raise ids.WEBHOOK.unknown(webhook_id)


def _one(connection: Connection, message_id: str, webhook_id: str | None) -> Row[Any]:
    query = select(messages).where(messages.c.id == message_id)
    if webhook_id is not None:
        _check_webhook(connection, webhook_id)
        query = query.where(messages.c.webhook_id == webhook_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise ids.DELIVERY.unknown(message_id)
    return row
