"""Rewriting: published exports made again without people who were erased (contract, sections 6 and 8).

The lines that stay are those of the files, byte for byte, so that days the store no longer keeps can be
rewritten too; windows and parts are cut as for any export of these rows. Owns how the new files take the
place of the old ones: a process that dies on the way leaves one visible export and what a rerun puts right.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import pyarrow as pa
from upath import UPath

from export_pipeline import locks, objects
from export_pipeline.days import parse_day
from export_pipeline.errors import DamagedData, NotFound
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.archives import FOLDER as ARCHIVES
from export_pipeline.exports.daily import (
    SCRATCH,
    daily_folder,
    daily_id,
    daily_lock,
    live_daily,
    read,
    versions,
)
from export_pipeline.exports.editing import Edit, Lines, edited, may_hold
from export_pipeline.exports.executors import threads
from export_pipeline.exports.kept import KeptLines
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.exports.manifest import DayEntry, FileEntry, Manifest, Replaces, instant_text
from export_pipeline.exports.onefile import one_file_bytes
from export_pipeline.exports.publishing import making, room, scratch
from export_pipeline.exports.readback import digest, row_blocks
from export_pipeline.exports.request import FORMATS, check_compression, check_format
from export_pipeline.exports.service import is_superseded, job_of, lock_name
from export_pipeline.exports.writing import Shape, write_data_type
from export_pipeline.faults import reach
from export_pipeline.ledger import Job, Ledger
from export_pipeline.ledger.jobs import COMPLETE
from export_pipeline.objects import files_below, inside, is_remote, relative
from export_pipeline.settings import Settings

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)

DataVersion = Callable[[DayEntry], int]
"""The data version that a day of an export stands for once people are taken out of it."""


@dataclass(frozen=True)
class Rewritten:
    """An export that was made again.

    ``path`` is its directory relative to the exports' root; ``removed`` the ids of the events that went, by
    data type; ``replaced`` counts the ids of people taken out of rows that stay.
    """

    path: str
    manifest: Manifest
    removed: Mapping[str, tuple[str, ...]] = field(repr=False)
    replaced: int


def rewrite_all(
    settings: Settings,
    ledger: Ledger,
    edit: Edit,
    data_version: DataVersion,
    *,
    now: datetime,
    executor: Executor | None = None,
) -> Iterator[Rewritten]:
    """Rewrite every published export that holds anything of ``edit``; what is clean is left as it is.

    What an export replaces is removed once the caller goes on, and told again if it died before.

    Raises:
        DamagedData, StorageFull: see ``rewrite_daily``.
    """
    with threads(settings, executor) as pool:
        for data_type, format, day in daily_partitions(settings):
            yield from rewrite_daily(
                settings, ledger, data_type, format, day, edit, data_version, now=now, executor=pool
            )
        for job_id in jobs_with_files(settings):
            yield from rewrite_job(settings, ledger, job_id, edit, data_version, now=now, executor=pool)


def holding(settings: Settings, ledger: Ledger, edit: Edit, now: datetime) -> Iterator[str]:
    """The exports that ``rewrite_all`` would make again, as paths relative to the exports' root.

    Raises:
        DamagedData: if files are not as they were published, naming them.
    """
    for data_type, format, day in daily_partitions(settings):
        live = live_daily(settings, data_type, format, day)
        if live and _holds(live.path, live.manifest, edit):
            yield relative(live.path, settings.exports)
    for job_id in jobs_with_files(settings):
        job = _complete(ledger, job_id, now)
        if job and job.path and _holds(shown := settings.exports / job.path, read(shown, settings), edit):
            yield job.path


def daily_partitions(settings: Settings) -> list[tuple[str, str, date]]:
    """Data type, format and day of the daily partitions that have files."""
    return [
        (data_type, format, parse_day(folder.name, "day"))
        for data_type in DATA_TYPES
        for format in FORMATS
        for folder in inside(settings.exports / "daily" / data_type / format)
        if _DAY.fullmatch(folder.name)
    ]


def jobs_with_files(settings: Settings) -> list[str]:
    """The ids of the jobs that have an export below the exports' root, visible or not."""
    return sorted(
        {
            job_of(path.parent)
            for kind in inside(settings.exports)
            if kind.name != "daily"
            for path, _, _ in files_below(kind)
            if path.name == MANIFEST and path.parent.parent == kind
        }
    )


def rewrite_daily(
    settings: Settings,
    ledger: Ledger,
    data_type: str,
    format: str,
    day: date,
    edit: Edit,
    data_version: DataVersion,
    *,
    now: datetime,
    executor: Executor | None = None,
) -> Iterator[Rewritten]:
    """Publish the next version of a daily partition if the live one holds anything of ``edit``.

    Older versions that hold anything of it are removed, whether or not the live one did.

    Raises:
        DamagedData: if files are not as they were published, naming them.
        StorageFull: if there is no room.
    """
    folder = daily_folder(settings, data_type, format, day)
    with ledger.lock(daily_lock(data_type, format, day)), threads(settings, executor) as pool:
        live = live_daily(settings, data_type, format, day)
        if live is None:
            return
        version = live.manifest.version + 1
        export_id = daily_id(data_type, format, day, version)
        final = folder / f"v{version}"
        done = _rewritten(settings, live.path, live.manifest, final, edit, data_version, now, pool, export_id)
        shown, manifest = (final, done.manifest) if done else (live.path, live.manifest)
        if done:
            yield done
        for number in versions(folder):
            older = folder / f"v{number}"
            if older == shown or not _holds(older, before := read(older, settings), edit):
                continue
            if not done and _comes_after(manifest, before):
                yield _told_again(settings, shown, manifest, older, before, edit)
            objects.remove(older)


def rewrite_job(
    settings: Settings,
    ledger: Ledger,
    job_id: str,
    edit: Edit,
    data_version: DataVersion,
    *,
    now: datetime,
    executor: Executor | None = None,
) -> Iterator[Rewritten]:
    """Make the export of a job again if it holds anything of ``edit``, and show the new one in its place.

    Files below the exports' root that no complete job shows are removed, but for superseded versions of a
    scheduled export that hold nothing of ``edit`` and that this one does not replace.

    Raises:
        DamagedData, StorageFull: see ``rewrite_daily``.
    """
    with locks.lock(settings, lock_name(job_id)), threads(settings, executor) as pool:
        job = _complete(ledger, job_id, now)
        shown = settings.exports / job.path if job and job.path else None
        done: Rewritten | None = None
        if shown is not None:
            manifest = read(shown, settings)
            final = shown.with_name(f"{job_id}-v{manifest.version + 1}")
            done = _rewritten(
                settings, shown, manifest, final, edit, data_version, now, pool, manifest.export_id
            )
            if done:
                size = one_file_bytes(final, done.manifest)
                ledger.jobs.show_files(
                    job_id, path=done.path, rows=done.manifest.row_count, bytes=size, now=now
                )
                reach(settings, "rewrite.shown")
                yield done
                shown = final
            else:
                for other in _others(settings, job_id, shown):
                    before = read(other, settings)
                    if _comes_after(manifest, before) and _holds(other, before, edit):
                        yield _told_again(settings, shown, manifest, other, before, edit)
        for other in _others(settings, job_id, shown):
            stays = job is not None and not done and is_superseded(job, other)
            if not stays or _holds(other, read(other, settings), edit):
                ledger.links.revoke(job_id, now, relative(other, settings.exports))
                objects.remove(other)


def _complete(ledger: Ledger, job_id: str, now: datetime) -> Job | None:
    try:
        job = ledger.jobs.get(job_id, now)
    except NotFound:
        return None
    return job if job.state == COMPLETE else None


def _others(settings: Settings, job_id: str, shown: UPath | None) -> list[UPath]:
    """Where exports of a job are but the one it shows; what is left in a bucket of one that was being removed
    goes now."""
    found = [
        path
        for kind in inside(settings.exports)
        if kind.name not in ("daily", ARCHIVES)
        for path in inside(kind)
        if job_of(path) == job_id and path != shown
    ]
    for path in found:
        if is_remote(path) and not (path / MANIFEST).exists():
            objects.remove(path)
            found = [other for other in found if other != path]
    return found


def _comes_after(manifest: Manifest, before: Manifest) -> bool:
    replaces = manifest.replaces
    return replaces is not None and (replaces.export_id, replaces.version) == (
        before.export_id,
        before.version,
    )


def _holds(folder: UPath, manifest: Manifest, edit: Edit) -> bool:
    """Whether there is anything of ``edit`` in the export in ``folder``."""
    if edit.mentions.occurs((folder / MANIFEST).read_bytes()):
        return True
    return any(len(lines.removed) or lines.replaced for _, lines in _touched(folder, manifest, edit))


def _told_again(
    settings: Settings, shown: UPath, manifest: Manifest, older: UPath, before: Manifest, edit: Edit
) -> Rewritten:
    """What was told, or should have been, when ``manifest`` took the place of ``before``."""
    removed: dict[str, tuple[str, ...]] = dict.fromkeys(before.data_types, ())
    replaced = 0
    for data_type, lines in _touched(older, before, edit):
        removed[data_type] += tuple(lines.removed.to_pylist())
        replaced += lines.replaced
    return Rewritten(relative(shown, settings.exports), manifest, removed, replaced)


def _touched(folder: UPath, manifest: Manifest, edit: Edit) -> Iterator[tuple[str, Lines]]:
    """The blocks of an export's files that may hold anything of ``edit``, edited, with their data type."""
    for file in manifest.files:
        try:
            for block in row_blocks(
                folder / file.name, file.data_type, manifest.format, manifest.compression
            ):
                if may_hold(edit, manifest.format, block):
                    yield file.data_type, edited(edit, file.data_type, manifest.format, block)
        except DamagedData as error:
            raise DamagedData(f"{manifest.export_id}: {error.message}; restore or remove it") from None


def _rewritten(
    settings: Settings,
    folder: UPath,
    before: Manifest,
    final: UPath,
    edit: Edit,
    data_version: DataVersion,
    now: datetime,
    executor: Executor,
    export_id: str,
) -> Rewritten | None:
    """Make the export in ``folder`` again as ``final``; None if nothing of ``edit`` is in it."""
    if not _holds(folder, before, edit):
        return None
    for file in before.files:
        if digest(folder / file.name) != file.sha256:
            raise DamagedData(f"{file.name} of {before.export_id} is not what was published")
    shape = Shape(
        check_format(before.format),
        check_compression(before.compression),
        settings.window_rows,
        settings.part_bytes,
        settings.workers,
    )
    removed: dict[str, tuple[str, ...]] = {}
    replaced = 0
    days: list[DayEntry] = []
    files: list[FileEntry] = []
    with (
        scratch(settings.tmp / "exports", SCRATCH) as made_in,
        room(settings.exports),
        making(settings, made_in, final) as place,
    ):
        for data_type in before.data_types:
            kept = KeptLines(made_in, data_type)
            kept.gather(folder, before, edit, executor, shape.ahead)
            removed[data_type] = tuple(kept.removed)
            replaced += kept.replaced
            written = write_data_type(place.folder, data_type, kept.scans(), shape, executor, None)
            files += written.files
            days += [
                replace(day, data_version=data_version(day), rows=written.days.get(day.date, 0))
                for day in before.days
                if day.data_type == data_type
            ]
            kept.clear()
        gone = sum(map(len, removed.values()))
        manifest = replace(
            before,
            export_id=export_id,
            version=before.version + 1,
            replaces=Replaces(before.export_id, before.version, 0, gone),
            content_ids=tuple(
                edit.mentions.replace(pa.array(before.content_ids, pa.string()))[0].to_pylist()
            ),
            days=tuple(days),
            files=tuple(files),
            created_at=instant_text(now),
        )
        if manifest.row_count != before.row_count - gone:
            raise DamagedData(f"{before.export_id} has {before.row_count} rows, and others were found in it")
        reach(settings, "rewrite.written")
        place.seal(manifest)
        reach(settings, "export.sealed")
        place.publish()
        reach(settings, "rewrite.published")
    return Rewritten(relative(final, settings.exports), manifest, removed, replaced)
