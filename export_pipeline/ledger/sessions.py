"""Sessions of people in the portal, and links that open one once.

A session's token is 256 random bits; the ledger holds its SHA-256 alone, keyed with the portal's password:
nobody who reads it can take a session over, and none outlives a change of the password.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, insert, or_, select, update

from export_pipeline.ledger.engine import reading
from export_pipeline.ledger.tables import login_links, sessions
from export_pipeline.settings import Settings

LINK_LIFETIME = timedelta(hours=1)
_SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Session:
    """Who is logged in, ``how`` they were (``password``, ``link`` or ``proxy``), and since when."""

    who: str
    how: str
    created_at: datetime
    seen_at: datetime


class Sessions:
    """The sessions of one deployment; safe to share between threads."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._key = settings.portal_password.get_secret_value().encode("utf-8", "surrogatepass")
        self._idle = timedelta(minutes=settings.portal_idle_minutes)
        self._longest = timedelta(hours=settings.portal_session_hours)

    def begin(self, who: str, how: str, now: datetime) -> str:
        """Open a session; its token. Those that are over are forgotten with it."""
        token = secrets.token_urlsafe(32)
        over = or_(sessions.c.seen_at <= now - self._idle, sessions.c.created_at <= now - self._longest)
        with self._engine.begin() as connection:
            connection.execute(delete(sessions).where(over))
            connection.execute(
                insert(sessions).values(hash=self._hash(token), who=who, how=how, created_at=now, seen_at=now)
            )
        return token

    def find(self, token: str, now: datetime, used: bool = True) -> Session | None:
        """The session of a token that was used not too long ago and is not too old.

        Args:
            used: whether it counts as used again; not for what a page asks by itself.
        """
        mine = sessions.c.hash == self._hash(token)
        with reading(self._engine) as connection:
            row = connection.execute(select(sessions).where(mine)).one_or_none()
        if row is None or now - row.seen_at >= self._idle or now - row.created_at >= self._longest:
            return None
        if used and now - row.seen_at >= _SEEN_EVERY:
            with self._engine.begin() as connection:
                connection.execute(update(sessions).where(mine).values(seen_at=now))
        return Session(row.who, row.how, row.created_at, row.seen_at)

    def end(self, token: str) -> None:
        """Close a session, if there is one; the token opens nothing any more."""
        with self._engine.begin() as connection:
            connection.execute(delete(sessions).where(sessions.c.hash == self._hash(token)))

    def new_link(self, now: datetime) -> str:
        """The token of a new link that logs somebody in, once, within ``LINK_LIFETIME``."""
        token = secrets.token_urlsafe(32)
        with self._engine.begin() as connection:
            connection.execute(delete(login_links).where(login_links.c.expires_at <= now))
            connection.execute(
                insert(login_links).values(hash=self._hash(token), expires_at=now + LINK_LIFETIME)
            )
        return token

    def follow_link(self, token: str, now: datetime) -> bool:
        """Use up a link; whether it was one that was good for a session."""
        mine = login_links.c.hash == self._hash(token)
        with self._engine.begin() as connection:
            used = connection.execute(delete(login_links).where(mine, login_links.c.expires_at > now))
            return used.rowcount == 1

    def _hash(self, token: str) -> str:
        return hmac.new(self._key, token.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
