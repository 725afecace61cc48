"""When a message is tried again: the one place of the contract's times (section 5)."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

DELAYS = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=24),
)
"""How long after the first, second … failure the next attempt is; there is none after the last."""
MOST_ATTEMPTS = len(DELAYS) + 1
LONGEST_WISH = timedelta(hours=24)
"""How long a receiver can ask to be left alone."""

_SECONDS = re.compile(r"[0-9]+", re.ASCII)
_MOST_DIGITS = 9


def next_attempt(made: int, failed_at: datetime, wish: timedelta | None = None) -> datetime | None:
    """When to try again after ``made`` attempts, the last of which failed at ``failed_at``.

    Args:
        wish: how long the receiver asked to be left alone.

    Returns:
        The instant; None if there is no attempt left.
    """
    if made >= MOST_ATTEMPTS:
        return None
    return failed_at + max(DELAYS[max(made, 1) - 1], min(wish or timedelta(), LONGEST_WISH))


def wish(retry_after: str | None, now: datetime) -> timedelta | None:
    """How long a ``Retry-After`` header asks for, seconds or an HTTP date; None if it says neither."""
    text = (retry_after or "").strip()
    if _SECONDS.fullmatch(text):
        return timedelta(seconds=int(text)) if len(text) <= _MOST_DIGITS else LONGEST_WISH
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(until - now, timedelta())
