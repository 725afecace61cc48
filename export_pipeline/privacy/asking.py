"""Asking for an access export: a job of kind ``user`` in the ledger, its person encrypted there."""

from datetime import datetime, timedelta

from export_pipeline.days import oldest_kept_day
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.ledger import Job, Ledger, NewJob
from export_pipeline.ledger.jobs import USER
from export_pipeline.privacy.identity import checked_user_id
from export_pipeline.settings import Settings

_EXPECTED = timedelta(seconds=10)


def request_access(
    settings: Settings,
    ledger: Ledger,
    user_id: object,
    *,
    now: datetime,
    created_by: str,
    job_id: str | None = None,
) -> Job:
    """Queue the access export of a person; nothing is read, and whether they are known is not looked at.

    Args:
        created_by: the id of a key, or ``command``.
        job_id: the job's id; default: a new one.

    Raises:
        InvalidRequest: naming ``userId``, if it is none.
    """
    noted = {
        "dateRange": {
            "start": str(oldest_kept_day(now, settings.raw_retention_days)),
            "end": str(now.date()),
        },
        "dataTypes": list(DATA_TYPES),
        "format": "jsonl",
        "compression": "none",
        "filters": {"contentIds": [], "eventTypes": [], "userCount": 1},
    }
    new = NewJob(
        request=noted,
        user_ids=(checked_user_id(user_id),),
        estimated_rows=0,
        estimated_bytes=0,
        estimated_completion=now + _EXPECTED,
        created_by=created_by,
        kind=USER,
    )
    return ledger.jobs.create(new, now, job_id)
