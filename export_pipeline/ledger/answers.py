"""Answers to requests that carry an Idempotency-Key, kept for 24 hours (contract, section 4).

Before a request is carried out, the id of what it makes is reserved; a request tried again, even after the
process died in between, makes the same thing and not a second one. What a client sends is held as keyed
hashes only.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, delete, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from export_pipeline import secrets
from export_pipeline.errors import Conflict
from export_pipeline.ledger.engine import reading
from export_pipeline.ledger.tables import answers
from export_pipeline.settings import Settings

KEPT = timedelta(hours=24)
_SECRET = "idempotency"


@dataclass(frozen=True)
class Reserved:
    """What a request makes, ``result_id``, and its answer if one was given already."""

    key_id: str
    route: str
    hash: str
    result_id: str
    status: int | None
    data: Any


class Answers:
    """The kept answers of one deployment; safe to share between threads."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine

    def reserve(
        self, key_id: str, route: str, idempotency_key: str, body: bytes, result_id: str, now: datetime
    ) -> Reserved:
        """Reserve ``result_id`` for a request, or find what was reserved for it within 24 hours.

        Raises:
            Conflict: if the key came with another body before.
        """
        hash_, body_hash = self._hash(idempotency_key.encode()), self._hash(body)
        mine = (answers.c.key_id == key_id, answers.c.route == route, answers.c.hash == hash_)
        with self._engine.begin() as connection:
            connection.execute(delete(answers).where(answers.c.created_at <= now - KEPT))
            held = connection.execute(select(answers).where(*mine)).one_or_none()
            if held is None:
                connection.execute(
                    insert(answers).values(
                        key_id=key_id,
                        route=route,
                        hash=hash_,
                        body_hash=body_hash,
                        result_id=result_id,
                        created_at=now,
                    )
                )
                return Reserved(key_id, route, hash_, result_id, None, None)
        if not hmac.compare_digest(held.body_hash, body_hash):
            raise Conflict(
                "the Idempotency-Key came with another body in the last 24 hours; "
                "it must be a new one for a new request",
                field="Idempotency-Key",
            )
        return Reserved(key_id, route, hash_, held.result_id, held.status, held.data)

    def keep(self, reserved: Reserved, status: int, data: Any) -> None:
        """Keep the answer of a request; ``data`` is JSON without a secret."""
        with self._engine.begin() as connection:
            connection.execute(update(answers).where(*_row(reserved)).values(status=status, data=data))

    def release(self, reserved: Reserved) -> None:
        """Forget a request that was refused, so that it can be asked again, corrected."""
        with self._engine.begin() as connection:
            connection.execute(delete(answers).where(*_row(reserved), answers.c.status.is_(None)))

    def ended(self, now: datetime) -> int:
        """How many answers are past their time."""
        query = select(func.count()).where(answers.c.created_at <= now - KEPT)
        with reading(self._engine) as connection:
            return connection.execute(query).scalar() or 0

    def forget(self, now: datetime) -> int:
        """Remove the answers that are past their time; how many there were."""
        with self._engine.begin() as connection:
            return connection.execute(delete(answers).where(answers.c.created_at <= now - KEPT)).rowcount

    def _hash(self, content: bytes) -> str:
        return hmac.new(secrets.key(self._settings, _SECRET), content, hashlib.sha256).hexdigest()


def _row(reserved: Reserved) -> tuple[ColumnElement[bool], ...]:
    return (
        answers.c.key_id == reserved.key_id,
        answers.c.route == reserved.route,
        answers.c.hash == reserved.hash,
    )
