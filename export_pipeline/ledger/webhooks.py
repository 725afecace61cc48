"""Endpoints of webhooks: where messages go, the secrets that sign them, and whether they are sent there.

Owns the states ``active`` and ``disabled``, the hour in which a secret and the one before it are both in
force, and when an endpoint that only fails is given up (contract, section 5). Secrets are kept encrypted.
"""

import base64
import builtins
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, insert, or_, select, update

from export_pipeline import ids
from export_pipeline.errors import Conflict
from export_pipeline.ledger.engine import reading
from export_pipeline.ledger.paging import read_page
from export_pipeline.ledger.posting import fail_waiting
from export_pipeline.ledger.sealing import Seal
from export_pipeline.ledger.tables import schedules, webhooks
from export_pipeline.settings import Settings

ACTIVE, DISABLED = "active", "disabled"
STATUSES = (ACTIVE, DISABLED)
SECRET_PREFIX = "whsec_"
MOST_PREVIOUS = 5
"""Secrets that can be in force besides the newest."""
ROTATION = timedelta(hours=1)
"""How long the secret before stays in force (contract, section 4)."""
GIVEN_UP_AFTER = timedelta(days=5)
"""How long an endpoint may do nothing but fail."""

BY_HAND = "disabled by hand"
GONE = "it answered 410 Gone"
FAILING = "nothing but failures for 5 days"

_SECRET_BYTES = 32


@dataclass(frozen=True)
class Webhook:
    """An endpoint without its secret; ``reason`` says why it is disabled, ``failing_since`` from when on
    every attempt has failed."""

    id: str
    number: int
    url: str
    events: tuple[str, ...]
    description: str
    status: str
    reason: str | None
    failing_since: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class Target:
    """Where to send and how to sign: ``previous`` are the secrets before, newest first, each in the hour
    after it was replaced."""

    webhook: Webhook
    secret: str = field(repr=False)
    previous: tuple[str, ...] = field(repr=False)


class Webhooks:
    """The endpoints of one deployment; safe to share between threads. Every method is one transaction."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._seal = Seal(settings, "webhooks")

    def create(
        self, url: str, events: Sequence[str], description: str, now: datetime, webhook_id: str | None = None
    ) -> tuple[Webhook, str]:
        """A new, active endpoint and its secret; ``delivery.endpoints`` checks what a caller gives.

        Args:
            webhook_id: its id; default: a new ``whk_…``.
        """
        with self._engine.begin() as connection:
            return self.add(connection, url, events, description, now, webhook_id)

    def add(
        self,
        connection: Connection,
        url: str,
        events: Sequence[str],
        description: str,
        now: datetime,
        webhook_id: str | None = None,
        made_for: str | None = None,
    ) -> tuple[Webhook, str]:
        """The same as part of a transaction.

        Args:
            made_for: the id of the schedule that it is made for.
        """
        secret = _new_secret()
        last = connection.execute(select(func.max(webhooks.c.number))).scalar() or 0
        row = connection.execute(
            insert(webhooks)
            .values(
                id=webhook_id or ids.WEBHOOK.new(),
                number=last + 1,
                url=url,
                events=list(events),
                description=description,
                status=ACTIVE,
                secret=self._seal.close(secret),
                created_at=now,
                made_for=made_for,
            )
            .returning(*webhooks.c)
        ).one()
        return _webhook(row), secret

    def get(self, webhook_id: str) -> Webhook:
        """An endpoint.

        Raises:
            NotFound: if there is none with this id.
        """
        with reading(self._engine) as connection:
            return self.known(connection, webhook_id)

    def known(self, connection: Connection, webhook_id: str) -> Webhook:
        """The same as part of a transaction."""
        return _webhook(_one(connection, webhook_id))

    def list(
        self, *, limit: int = 20, cursor: str | None = None
    ) -> tuple[tuple[Webhook, ...], str | None, int]:
        """Endpoints newest first, the cursor of the next page (None on the last), and how many there are.

        Raises:
            InvalidRequest: naming ``limit`` or ``cursor``.
        """
        with reading(self._engine) as connection:
            rows, following, total = read_page(connection, webhooks, (), limit, cursor)
        return tuple(_webhook(row) for row in rows), following, total

    def disabled(self) -> tuple[Webhook, ...]:
        """The endpoints that were disabled, though by nobody's hand."""
        with reading(self._engine) as connection:
            query = select(webhooks).where(webhooks.c.status == DISABLED, webhooks.c.reason != BY_HAND)
            return tuple(_webhook(row) for row in connection.execute(query.order_by(webhooks.c.number)))

    def change(
        self,
        webhook_id: str,
        now: datetime,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | None = None,
        status: str | None = None,
    ) -> Webhook:
        """Change what is given of an endpoint. One that is active again, or moved, has a clean record.

        Raises:
            NotFound: if there is none with this id.
        """
        with self._engine.begin() as connection:
            held = _one(connection, webhook_id)
            values: dict[str, Any] = {"url": url, "description": description}
            if events is not None:
                values["events"] = list(events)
            values = {name: value for name, value in values.items() if value is not None}
            if url not in (None, held.url):
                values["failing_since"] = None
            if status == ACTIVE and held.status == DISABLED:
                values |= {"status": ACTIVE, "reason": None, "failing_since": None}
            if values:
                connection.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(**values))
            if status == DISABLED and held.status == ACTIVE:
                disable(connection, webhook_id, BY_HAND, now)
            return _webhook(_one(connection, webhook_id))

    def remove(self, webhook_id: str) -> None:
        """Remove an endpoint and the log of its deliveries.

        Raises:
            NotFound: if there is none with this id.
            Conflict: if a scheduled export is delivered there.
        """
        with self._engine.begin() as connection:
            _one(connection, webhook_id)
            used = select(schedules.c.id).where(schedules.c.webhook_id == webhook_id).limit(1)
            if schedule_id := connection.execute(used).scalar():
                raise Conflict(
                    f"the schedule {schedule_id} is delivered to {webhook_id}; change its delivery or delete "
                    "it first",
                    field="webhookId",
                )
            connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))

    def move(self, connection: Connection, webhook_id: str, url: str, schedule_id: str) -> str | None:
        """Let an endpoint that was made for a schedule, and is used by no other, be another URL, with a new
        secret as nobody knows who reads there; its log and what waits for it stay. Part of a transaction.

        Returns:
            The secret; None if it was not made for the schedule, or others use it.
        """
        others = select(schedules.c.id).where(
            schedules.c.webhook_id == webhook_id, schedules.c.id != schedule_id
        )
        mine = (webhooks.c.id == webhook_id, webhooks.c.made_for == schedule_id, ~others.exists())
        secret = _new_secret()
        moved = connection.execute(
            update(webhooks)
            .where(*mine)
            .values(
                url=url,
                secret=self._seal.close(secret),
                previous_secret=None,
                previous_until=None,
                status=ACTIVE,
                reason=None,
                failing_since=None,
            )
        )
        return secret if moved.rowcount else None

    def rotate(self, webhook_id: str, now: datetime) -> tuple[str, datetime]:
        """A new secret for an endpoint, and until when the one before is in force too.

        Raises:
            NotFound: if there is none with this id.
            Conflict: if as many as there may be are in force.
        """
        secret, until = _new_secret(), now + ROTATION
        with self._engine.begin() as connection:
            held = _one(connection, webhook_id)
            previous = [(self._seal.open(held.secret), until), *self._previous(held, now)]
            if len(previous) > MOST_PREVIOUS:
                raise Conflict(
                    f"the secret was rotated {MOST_PREVIOUS} times within an hour; rotate it again after "
                    f"{previous[-1][1]:%Y-%m-%dT%H:%M:%SZ}",
                    field="webhookId",
                )
            kept = json.dumps([(text, at.isoformat()) for text, at in previous])
            connection.execute(
                update(webhooks)
                .where(webhooks.c.id == webhook_id)
                .values(
                    secret=self._seal.close(secret),
                    previous_secret=self._seal.close(kept),
                    previous_until=until,
                )
            )
        return secret, until

    def _previous(self, row: Row[Any], now: datetime) -> builtins.list[tuple[str, datetime]]:
        """The secrets before that are in force at ``now`` and until when, newest first."""
        if row.previous_secret is None or row.previous_until <= now:
            return []
        kept = (
            (text, datetime.fromisoformat(at))
            for text, at in json.loads(self._seal.open(row.previous_secret))
        )
        return [(text, until) for text, until in kept if now < until]

    def target(self, webhook_id: str, now: datetime) -> Target:
        """Where a message to an endpoint goes at ``now``, and the secrets in force.

        Raises:
            NotFound: if there is none with this id.
        """
        with reading(self._engine) as connection:
            row = _one(connection, webhook_id)
        previous = tuple(secret for secret, _ in self._previous(row, now))
        return Target(_webhook(row), self._seal.open(row.secret), previous)


def subscribed(connection: Connection, event: str) -> tuple[str, ...]:
    """The ids of the active endpoints that want an event."""
    query = (
        select(webhooks.c.id, webhooks.c.events)
        .where(webhooks.c.status == ACTIVE)
        .order_by(webhooks.c.number)
    )
    return tuple(row.id for row in connection.execute(query) if event in row.events)


def note_attempt(connection: Connection, webhook_id: str, at: datetime) -> None:
    """An attempt to reach an endpoint ended at ``at``; several may end in any order."""
    last = webhooks.c.last_attempt_at
    connection.execute(
        update(webhooks)
        .where(webhooks.c.id == webhook_id, or_(last.is_(None), last < at))
        .values(last_attempt_at=at)
    )


def note_success(connection: Connection, webhook_id: str) -> None:
    """An endpoint took a message: whatever failed before counts no more."""
    connection.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(failing_since=None))


def note_failure(connection: Connection, webhook_id: str, at: datetime, gone: bool) -> None:
    """An endpoint failed; it is disabled if it is ``gone``, or has only failed for too long."""
    since = connection.execute(
        update(webhooks)
        .where(webhooks.c.id == webhook_id)
        .values(failing_since=func.coalesce(webhooks.c.failing_since, at))
        .returning(webhooks.c.failing_since)
    ).scalar()
    if gone:
        disable(connection, webhook_id, GONE, at)
    elif since is not None and at - since >= GIVEN_UP_AFTER:
        disable(connection, webhook_id, FAILING, at)


def disable(connection: Connection, webhook_id: str, reason: str, now: datetime) -> None:
    """Send nothing more to an endpoint; what waits has failed, and can be retried once it is active again."""
    changed = connection.execute(
        update(webhooks)
        .where(webhooks.c.id == webhook_id, webhooks.c.status == ACTIVE)
        .values(status=DISABLED, reason=reason)
    )
    if changed.rowcount:
        fail_waiting(connection, webhook_id, f"the endpoint is disabled: {reason}", now)


def _new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def _one(connection: Connection, webhook_id: str) -> Row[Any]:
    row = connection.execute(select(webhooks).where(webhooks.c.id == webhook_id)).one_or_none()
    if row is None:
        raise ids.WEBHOOK.unknown(webhook_id)
    return row


def _webhook(row: Row[Any]) -> Webhook:
    return Webhook(
        row.id,
        row.number,
        row.url,
        tuple(row.events),
        row.description,
        row.status,
        row.reason,
        row.failing_since,
        row.created_at,
    )
