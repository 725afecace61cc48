"""Export files: gone when their time is over, counted from when they were made, to the second.

The one owner of that rule for what lies under ``exports/``. A job is noted as expired, and a daily export
remembered, before files go; they leave their place whole, by one rename.
"""

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

from export_pipeline.errors import NotFound
from export_pipeline.exports.daily import SCRATCH
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.exports.manifest import InvalidManifest, Manifest, from_json
from export_pipeline.exports.publishing import scratch
from export_pipeline.exports.service import job_of
from export_pipeline.faults import reach
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.jobs import EXPIRED
from export_pipeline.ledger.keeping import ExpiredExport
from export_pipeline.retention.items import Item, on_disk
from export_pipeline.settings import Settings

DAILY = "daily"
USER = "user"
"""The kind of a job whose files are one person's."""


def expire_daily(settings: Settings, ledger: Ledger, now: datetime, dry: bool) -> Item:
    """Remove the versions of daily exports, replaced ones too, whose time is over at ``now``."""
    removed = Item()
    for folder in sorted((settings.exports / DAILY).glob("*/*/*")):
        if not any(_over(folder, settings, now)):
            continue
        data_type, format_, day = folder.relative_to(settings.exports / DAILY).parts
        if dry:
            for path, manifest in _over(folder, settings, now):
                removed += on_disk([path], manifest.row_count)
            continue
        # Held while a version is made: a folder is not taken away from under it.
        with ledger.lock(f"daily-{data_type}-{format_}-{day}"):
            for path, manifest in list(_over(folder, settings, now)):
                export = ExpiredExport(
                    data_type,
                    format_,
                    date.fromisoformat(day),
                    manifest.version,
                    manifest.days[0].data_version,
                    now,
                )
                ledger.keeping.note_expired(export)
                reach(settings, "retention.noted")
                removed += Item(rows=manifest.row_count) + _take_away(settings, path)
            if not any(folder.iterdir()):
                folder.rmdir()
    return removed


def _over(folder: Path, settings: Settings, now: datetime) -> Iterator[tuple[Path, Manifest]]:
    """The versions below ``folder`` that were made long enough ago, oldest first."""
    for path in sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name)):
        manifest = _manifest(path)
        if manifest and _made(manifest) + timedelta(days=settings.export_retention_days) <= now:
            yield path, manifest


def expire_jobs(settings: Settings, ledger: Ledger, now: datetime, dry: bool) -> tuple[Item, Item]:
    """Remove the files of jobs whose time is over at ``now``: of exports, and of one person's exports.

    Files that no job owns any more go when a job's would.
    """
    if not dry:
        ledger.jobs.expire_due(now)
        reach(settings, "retention.noted")
    exports, access = Item(), Item()
    for path in sorted(settings.exports.glob("*/*")):
        if path.parent.name == DAILY or path.name.startswith("."):
            continue
        expired = _expired(path, settings, ledger, now)
        if expired is None:
            continue
        kind, rows = expired
        item = Item(rows=rows) + (on_disk([path]) if dry else _take_away(settings, path))
        if kind == USER:
            access += item
        else:
            exports += item
    return exports, access


def _expired(path: Path, settings: Settings, ledger: Ledger, now: datetime) -> tuple[str, int] | None:
    """The kind and the rows of what is at ``path`` if its time is over, else None."""
    try:
        job = ledger.jobs.get(job_of(path), now)
    except NotFound:
        manifest = _manifest(path)
        over = manifest and _made(manifest) + timedelta(days=settings.export_retention_days) <= now
        return (manifest.kind, manifest.row_count) if manifest and over else None
    return (job.kind, job.rows or 0) if job.state == EXPIRED else None


def _made(manifest: Manifest) -> datetime:
    return datetime.fromisoformat(manifest.created_at)


def _manifest(path: Path) -> Manifest | None:
    try:
        return from_json(json.loads((path / MANIFEST).read_bytes()))
    except (OSError, ValueError, RecursionError, InvalidManifest):
        return None


def _take_away(settings: Settings, path: Path) -> Item:
    """Remove ``path`` from its place at once, then from disk; a process that dies in between is swept up."""
    held = on_disk([path])
    with scratch(settings.tmp / "exports", SCRATCH) as bin_:
        path.rename(bin_ / path.name)
        reach(settings, "retention.moved")
    return held
