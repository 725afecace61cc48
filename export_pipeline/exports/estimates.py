"""How large an export will be and when it will be done, without reading a row (contract, section 4).

Rows come from the ledger and are exact as long as nothing is filtered out. Bytes a row come from daily
exports and jobs of the same shape, and where there are none from the size of the store's files. How much a
filter leaves is a guess.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from statistics import median

from export_pipeline.days import days_between
from export_pipeline.errors import DamagedData
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.daily import DailyExport
from export_pipeline.exports.live import LiveDays
from export_pipeline.exports.looking import look
from export_pipeline.exports.request import ExportRequest
from export_pipeline.ledger import Job, Ledger
from export_pipeline.ledger.jobs import EXPORTS
from export_pipeline.settings import Settings
from export_pipeline.store import Store

MOST_AT_ONCE = 3
"""Jobs processed side by side (contract, section 4)."""

_PAST_JOBS = 20
_PAST_DAYS = 3
_STARTUP = timedelta(seconds=8)
_ROWS_A_SECOND = 250_000
_STORED_OVERHEAD = 4_500
"""Bytes of a store file that are not rows, about."""
_OF_STORED = {"jsonl": 1.68, "csv": 1.44}
"""Bytes of a compressed export for a byte of rows in the store, about."""
_PLAIN = {"jsonl": 435.0, "csv": 240.0}
"""Bytes of an uncompressed row, about."""
_OF_CONTENT, _OF_USER = 0.01, 0.001
"""The share of the rows of one content or one user, guessed."""


@dataclass(frozen=True)
class Estimate:
    """Rows, bytes of the part files, and the instant of completion."""

    rows: int
    bytes: int
    completion: datetime


def estimate(
    settings: Settings, store: Store, ledger: Ledger, request: ExportRequest, now: datetime
) -> Estimate:
    """What ``request`` will come to if it is queued at ``now`` behind the jobs that are open."""
    past = [job for job in ledger.jobs.list(now, limit=_PAST_JOBS, status="complete")[0] if job.rows]
    share = _share(request)
    alike = next((job for job in past if _alike(job, request)), None)
    rows, size = 0, 0.0
    for data_type in request.data_types:
        stored = sum(wanted.rows for wanted in look(ledger, data_type, request).days.values())
        if stored:
            rows += round(stored * share)
            size += stored * share * _bytes_a_row(settings, store, request, data_type, stored, alike)
    ahead = sum(max(0, job.estimated_rows - job.processed_rows) for job in ledger.jobs.open(now, EXPORTS))
    seconds = (ahead / MOST_AT_ONCE + rows) / _rows_a_second(past)
    return Estimate(rows, round(size), now + _STARTUP + timedelta(seconds=seconds))


def _bytes_a_row(
    settings: Settings, store: Store, request: ExportRequest, data_type: str, stored: int, alike: Job | None
) -> float:
    if request.compression == "gzip" and (daily := _daily_exports(settings, request, data_type)):
        return sum(export.bytes for export in daily) / sum(export.rows for export in daily)
    if alike is not None and alike.rows and alike.bytes:
        return alike.bytes / alike.rows
    if request.compression == "none":
        return _PLAIN[request.format]
    sizes = store.sizes(DATA_TYPES[data_type].table, request.start, request.end)
    size = sum(max(0, size - _STORED_OVERHEAD) for size in sizes)
    return size / stored * _OF_STORED[request.format]


def _daily_exports(settings: Settings, request: ExportRequest, data_type: str) -> list[DailyExport]:
    """A few daily exports with rows of the days asked for."""
    live = LiveDays(settings)
    found = (_live(live, data_type, request.format, d) for d in days_between(request.start, request.end))
    return list(islice((export for export in found if export and export.rows), _PAST_DAYS))


def _live(live: LiveDays, data_type: str, format: str, day: date) -> DailyExport | None:
    try:
        return live(data_type, format, day)
    except DamagedData:
        return None


def _alike(job: Job, request: ExportRequest) -> bool:
    """Whether a row of a past job takes as many bytes as a row of this one."""
    asked = job.request
    return (tuple(asked["dataTypes"]), asked["format"], asked["compression"]) == (
        request.data_types,
        request.format,
        request.compression,
    )


def _share(request: ExportRequest) -> float:
    wanted = request.filters
    share = 1.0
    if wanted.event_types:
        known = {event for name in request.data_types for event in DATA_TYPES[name].event}
        share *= len(wanted.event_types) / len(known)
    if wanted.content_ids:
        share *= min(1.0, _OF_CONTENT * len(wanted.content_ids))
    if wanted.user_ids:
        share *= min(1.0, _OF_USER * len(wanted.user_ids))
    return share


def _rows_a_second(past: Sequence[Job]) -> float:
    rates = [
        job.rows / seconds
        for job in past
        if job.rows
        and job.started_at
        and job.ended_at
        and (seconds := (job.ended_at - job.started_at).total_seconds()) >= 1
    ]
    return median(rates) if rates else _ROWS_A_SECOND
