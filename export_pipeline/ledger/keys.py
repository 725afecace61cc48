"""API keys: made, found by their text, revoked (contract, section 4).

A key's text is 256 random bits, so its SHA-256 is as good as itself to compare and useless to whoever
reads the ledger; the text is shown once and held nowhere.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Row, insert, select, update
from sqlalchemy.exc import OperationalError

from export_pipeline import ids
from export_pipeline.errors import Conflict, InvalidRequest, Unauthorized
from export_pipeline.ledger.engine import reading
from export_pipeline.ledger.tables import keys

SCOPES = ("exports:read", "exports:write", "privacy", "webhooks")
PREFIX = "sk_live_"
_HINT_LENGTH = len(PREFIX) + 6
_TEXT_LENGTH = len(PREFIX) + 43
_NAME_LENGTH = 100

USE_NOTED_EVERY = timedelta(minutes=1)
"""How exactly it is known when a key was used last."""


@dataclass(frozen=True)
class Key:
    """A key without its text; ``hint`` is how the text begins."""

    id: str
    hint: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None = None


class Keys:
    """The keys of one deployment; safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._noted: dict[str, datetime] = {}

    def create(
        self, scopes: Iterable[str], now: datetime, name: str = "", key_id: str | None = None
    ) -> tuple[Key, str]:
        """A new key and its text.

        Args:
            key_id: its id; default: a new ``key_…``.

        Raises:
            Conflict: if there is one with this id.
            InvalidRequest: naming ``scope`` or ``name``.
        """
        asked = set(scopes)
        if not asked or (unknown := sorted(asked - set(SCOPES))):
            shown = repr(unknown[0][:80]) if asked else "missing"
            raise InvalidRequest(f"scope is {shown}; it must be one of {', '.join(SCOPES)}", field="scope")
        if len(name) > _NAME_LENGTH:
            raise InvalidRequest(
                f"name has {len(name)} characters; it must have at most {_NAME_LENGTH}", field="name"
            )
        text = PREFIX + secrets.token_urlsafe(32)
        key = Key(
            id=key_id or ids.KEY.new(),
            hint=text[:_HINT_LENGTH],
            name=name,
            scopes=tuple(scope for scope in SCOPES if scope in asked),
            created_at=now,
            revoked_at=None,
        )
        with self._engine.begin() as connection:
            if connection.execute(select(keys.c.id).where(keys.c.id == key.id)).scalar() is not None:
                raise Conflict(f"there is a key {key.id} already", field="keyId")
            connection.execute(
                insert(keys).values(
                    id=key.id,
                    hint=key.hint,
                    hash=_hash(text),
                    name=name,
                    scopes=list(key.scopes),
                    created_at=now,
                )
            )
        return key, text

    def find(self, text: str) -> Key:
        """The key whose text is ``text``.

        Raises:
            Unauthorized: if there is none, or it was revoked; the message does not say which.
        """
        if text.startswith(PREFIX) and len(text) == _TEXT_LENGTH and text.isascii():
            wanted = _hash(text)
            with reading(self._engine) as connection:
                alike = connection.execute(select(keys).where(keys.c.hint == text[:_HINT_LENGTH])).all()
            for row in alike:
                if hmac.compare_digest(row.hash, wanted) and row.revoked_at is None:
                    return _key(row)
        raise Unauthorized(
            f"the API key is unknown or was revoked; it must be one that begins with {PREFIX} and is in force"
        )

    def note_use(self, key: Key, now: datetime) -> None:
        """Note that a key was used, to the minute: one write a minute for a key, and none that has to wait
        for the ledger fails the request it is of."""
        last = max(filter(None, (key.last_used_at, self._noted.get(key.id))), default=None)
        if last is not None and now - last < USE_NOTED_EVERY:
            return
        self._noted[key.id] = now
        with suppress(OperationalError), self._engine.begin() as connection:
            connection.execute(update(keys).where(keys.c.id == key.id).values(last_used_at=now))

    def list(self) -> "list[Key]":
        """Every key, newest first, revoked ones too."""
        with reading(self._engine) as connection:
            query = select(keys).order_by(keys.c.created_at.desc(), keys.c.id)
            return [_key(row) for row in connection.execute(query)]

    def revoke(self, key_id: str, now: datetime) -> Key:
        """End a key; the next request with it is refused.

        Raises:
            NotFound: if there is none with this id.
            Conflict: if it was revoked before.
        """
        with self._engine.begin() as connection:
            row = connection.execute(
                update(keys)
                .where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
                .values(revoked_at=now)
                .returning(*keys.c)
            ).one_or_none()
            if row is not None:
                return _key(row)
            if connection.execute(select(keys.c.id).where(keys.c.id == key_id)).scalar() is None:
                raise ids.KEY.unknown(key_id)
        raise Conflict(f"key {key_id} was revoked before", field="keyId")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _key(row: Row[Any]) -> Key:
    return Key(
        row.id, row.hint, row.name, tuple(row.scopes), row.created_at, row.revoked_at, row.last_used_at
    )
