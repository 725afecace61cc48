"""Which daily exports rows came for since they were made, and when each is made again (contract, section 8).

A day rests for a quiet period after it changed, so that a storm of late batches is one version and not many;
however long the storm, a version comes an hour after the one before or after the first row it lacks.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from export_pipeline.days import oldest_kept_day
from export_pipeline.errors import DamagedData, InvalidRequest
from export_pipeline.exports.cursors import read_cursor
from export_pipeline.exports.daily import live_daily
from export_pipeline.exports.manifest import Manifest
from export_pipeline.exports.rewriting import daily_partitions
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings

MOST_OFTEN = timedelta(hours=1)
"""How long after a version of a day the next one is made at the earliest."""


@dataclass(frozen=True)
class Stale:
    """A daily export that lacks ``rows`` rows of its day as it is now; its next version is due at ``due_at``.

    ``rows`` is 0 if the day has changed in another way.
    """

    data_type: str
    format: str
    day: date
    version: int
    rows: int
    due_at: datetime

    def __str__(self) -> str:
        """The same in a sentence."""
        what = f"{self.rows:,} rows came" if self.rows else "the day changed"
        return (
            f"{self.day}: {what} since version {self.version}; version {self.version + 1} is made from "
            f"{self.due_at:%Y-%m-%d %H:%M} UTC on."
        )


def stale_exports(
    settings: Settings, ledger: Ledger, now: datetime, only: tuple[str, str] | None = None
) -> Iterator[Stale]:
    """The complete daily exports of days that have a higher data version by now, and are kept.

    One that is not complete is made again by the schedule, once its day has closed.

    Args:
        only: a data type and a format.
    """
    oldest = oldest_kept_day(now, settings.raw_retention_days)
    known = {}
    for data_type, format, day in daily_partitions(settings):
        if only is not None and (data_type, format) != only:
            continue
        if data_type not in known:
            first = ledger.keeping.first_day(data_type) or oldest
            known[data_type] = max(first, oldest), ledger.known_days(data_type)
        kept_from, states = known[data_type]
        if day < kept_from or day not in states:
            continue
        try:
            live = live_daily(settings, data_type, format, day)
        except DamagedData:
            continue  # made again by whoever asks for it; the check of files tells
        if live is None or not live.manifest.complete or live.data_version >= states[day].version:
            continue
        rows, since = ledger.rows_of_day(data_type, day, watermark(settings, data_type, live.manifest))
        changed_at = states[day].changed_at or now
        made_at = datetime.fromisoformat(live.manifest.created_at)
        due_at = due(settings, made_at, since or changed_at, changed_at)
        yield Stale(data_type, format, day, live.manifest.version, rows, due_at)


def due(settings: Settings, made_at: datetime, since: datetime, changed_at: datetime) -> datetime:
    """When the next version of an export is due.

    Args:
        made_at: when the version before was made.
        since, changed_at: when the first and the last of what it lacks came.
    """
    quiet = changed_at + timedelta(minutes=settings.restate_quiet_minutes)
    return max(min(quiet, max(since, made_at) + MOST_OFTEN), made_at + MOST_OFTEN)


def watermark(settings: Settings, data_type: str, manifest: Manifest) -> int:
    """The last batch of a data type that is part of an export."""
    if manifest.cursor is not None:
        with suppress(InvalidRequest):
            return read_cursor(settings, manifest.cursor).watermarks[data_type]
    return 0
