"""Calendar rules in UTC: what a day is, which days are kept, when a day may close.

Every function takes the instant it judges by, so that a rerun judges the same.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta

from export_pipeline.errors import InvalidRequest, OutsideRetention

MAX_RANGE_DAYS = 31
"""An export covers at most this many calendar days (contract, section 4)."""

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def utc_now() -> datetime:
    """The current instant, in UTC."""
    return datetime.now(UTC)


def parse_day(text: object, field: str) -> date:
    """A ``YYYY-MM-DD`` string as a date; anything else is ``InvalidRequest`` naming ``field``."""
    if isinstance(text, str) and _DAY.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise InvalidRequest(f"{field} is {text!r}; it must be a calendar day as YYYY-MM-DD", field=field)


def parse_instant(text: object, field: str) -> datetime:
    """An RFC 3339 instant, in UTC; anything else, or one without a zone, is ``InvalidRequest``."""
    if isinstance(text, str) and _INSTANT.fullmatch(text):
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    raise InvalidRequest(
        f"{field} is {text!r}; it must be an instant with its zone, such as 2026-11-23T04:00:00Z", field=field
    )


def midnight(day: date) -> datetime:
    """The instant at which ``day`` begins."""
    return datetime.combine(day, time.min, UTC)


def days_between(start: date, end: date) -> Iterator[date]:
    """Every day from ``start`` to ``end``, both included, oldest first."""
    for offset in range((end - start).days + 1):
        yield start + timedelta(days=offset)


def oldest_kept_day(now: datetime, retention_days: int) -> date:
    """The first day that is still inside raw retention at ``now`` (contract, section 7)."""
    return now.astimezone(UTC).date() - timedelta(days=retention_days)


def close_instant(day: date, close_delay: timedelta) -> datetime:
    """When ``day`` closes, given that nothing landed for it waits (contract, section 3)."""
    return midnight(day) + timedelta(days=1) + close_delay


def check_range(start: date, end: date, now: datetime, retention_days: int) -> None:
    """Refuse a range that is reversed, too long, in the future or outside raw retention.

    Raises:
        InvalidRequest: naming ``startDate`` or ``endDate`` (contract, section 4).
        OutsideRetention: if the first day is no longer kept (contract, section 3).
    """
    today = now.astimezone(UTC).date()
    if end < start:
        raise InvalidRequest(
            f"endDate is {end}, before startDate {start}; it must not be earlier", field="endDate"
        )
    if start > today:
        raise InvalidRequest(f"startDate is {start}; it must not be after today, {today}", field="startDate")
    if end > today:
        raise InvalidRequest(f"endDate is {end}; it must not be after today, {today}", field="endDate")
    if (end - start).days >= MAX_RANGE_DAYS:
        latest = start + timedelta(days=MAX_RANGE_DAYS - 1)
        raise InvalidRequest(
            f"endDate is {end}, {(end - start).days} days after startDate {start}; "
            f"it must be at most {MAX_RANGE_DAYS - 1} days after it, {latest}",
            field="endDate",
        )
    oldest = oldest_kept_day(now, retention_days)
    if start < oldest:
        raise OutsideRetention(
            f"startDate is {start}; raw events are kept for {retention_days} days, "
            f"so the first day that can be exported is {oldest}",
            field="startDate",
        )
