"""Export files: gone when their time is over, counted from when they were made, to the second.

The one owner of that rule for what lies under ``exports/``. A job is noted as expired, and a daily export
remembered, before files go; they leave their place whole, by one rename.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, timedelta

from upath import UPath

from export_pipeline import objects
from export_pipeline.errors import NotFound
from export_pipeline.exports.daily import SCRATCH, daily_lock
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.exports.manifest import InvalidManifest, Manifest, from_json
from export_pipeline.exports.publishing import scratch
from export_pipeline.exports.service import job_of
from export_pipeline.faults import reach
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.jobs import EXPIRED
from export_pipeline.ledger.keeping import ExpiredExport
from export_pipeline.objects import inside, is_remote, local, relative
from export_pipeline.retention.items import Item, on_disk
from export_pipeline.settings import Settings

DAILY = "daily"
USER = "user"
"""The kind of a job whose files are one person's."""


def expire_daily(settings: Settings, ledger: Ledger, now: datetime, dry: bool) -> Item:
    """Remove the versions of daily exports, replaced ones too, whose time is over at ``now``."""
    removed = Item()
    root = settings.exports / DAILY
    for folder in (day for kind in inside(root) for format_ in inside(kind) for day in inside(format_)):
        if not any(_over(folder, settings, now)):
            continue
        data_type, form, day = relative(folder, root).split("/")
        if dry:
            for path, manifest in _over(folder, settings, now):
                removed += on_disk([path], manifest.row_count)
            continue
        # Held while a version is made: a folder is not taken away from under it.
        with ledger.lock(daily_lock(data_type, form, date.fromisoformat(day))):
            for path, manifest in list(_over(folder, settings, now)):
                export = ExpiredExport(
                    data_type,
                    form,
                    date.fromisoformat(day),
                    manifest.version,
                    manifest.days[0].data_version,
                    now,
                )
                ledger.keeping.note_expired(export)
                reach(settings, "retention.noted")
                removed += Item(rows=manifest.row_count) + _take_away(settings, path)
            if not is_remote(folder) and not inside(folder):
                folder.rmdir()
    return removed


def _over(folder: UPath, settings: Settings, now: datetime) -> Iterator[tuple[UPath, Manifest]]:
    """The versions below ``folder`` that were made long enough ago, oldest first."""
    for path in sorted(inside(folder), key=lambda path: (len(path.name), path.name)):
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
    kinds = (kind for kind in inside(settings.exports) if kind.name != DAILY)
    for path in (path for kind in kinds for path in inside(kind) if not path.name.startswith(".")):
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


def _expired(path: UPath, settings: Settings, ledger: Ledger, now: datetime) -> tuple[str, int] | None:
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


def _manifest(path: UPath) -> Manifest | None:
    try:
        return from_json(json.loads((path / MANIFEST).read_bytes()))
    except (OSError, ValueError, RecursionError, InvalidManifest):
        return None


def _take_away(settings: Settings, path: UPath) -> Item:
    """Remove ``path`` from its place at once, then from disk; a process that dies in between is swept up."""
    held = on_disk([path])
    if is_remote(path):
        with suppress(FileNotFoundError):
            (path / MANIFEST).unlink()  # from here on it is no export, whatever becomes of this process
        reach(settings, "retention.moved")
        objects.remove(path)
        return held
    with scratch(settings.tmp / "exports", SCRATCH) as bin_:
        local(path).rename(bin_ / path.name)
        reach(settings, "retention.moved")
    return held
