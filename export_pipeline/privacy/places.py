"""Where the archives of access exports are made and where they lie, and what is cleared away of them."""

import shutil
from datetime import datetime
from pathlib import Path

from export_pipeline.errors import NotFound
from export_pipeline.exports.archives import FOLDER
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.jobs import COMPLETE, EXPIRED, OPEN, USER
from export_pipeline.objects import inside, remove
from export_pipeline.privacy.reading import sweep_reading
from export_pipeline.settings import Settings


def made_in(settings: Settings, job_id: str) -> Path:
    """The directory in which a job's archive is made; whoever works on the job holds its lock."""
    return made_below(settings) / job_id


def made_below(settings: Settings) -> Path:
    """The directory of all in which archives are made, named by their jobs."""
    return settings.tmp / "access"


def archive_name(job_id: str) -> str:
    """The name of a job's archive."""
    return f"{job_id}.zip"


def clear_access(settings: Settings, ledger: Ledger, now: datetime) -> None:
    """Clear away what no access export needs: archives of jobs that failed or were cancelled, and what was
    collected for jobs that have ended or spilled by processes that died. Archives whose time is over are the
    affair of retention."""
    sweep_reading(settings)
    for place in inside(settings.exports / FOLDER):
        if place.suffix == ".zip" and not _is_in(ledger, place.stem, (*OPEN, COMPLETE, EXPIRED), now):
            remove(place)
    for folder in made_below(settings).glob("*"):
        if not _is_in(ledger, folder.name, OPEN, now):
            shutil.rmtree(folder, ignore_errors=True)


def _is_in(ledger: Ledger, job_id: str, states: tuple[str, ...], now: datetime) -> bool:
    try:
        return ledger.jobs.get(job_id, now, [USER]).state in states
    except NotFound:
        return False
