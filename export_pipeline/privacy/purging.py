"""The step of an erasure that clears what is neither store nor export file: archives of access exports,
quarantined lines, texts of the ledger, and scratch files of processes that are gone.
"""

import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from export_pipeline import buckets, locks, objects
from export_pipeline.errors import Conflict, DamagedData, TransientError
from export_pipeline.exports.daily import SCRATCH
from export_pipeline.exports.making import PUBLISHING
from export_pipeline.exports.publishing import HOLDERS, sweep, sweep_unpublished
from export_pipeline.exports.service import lock_name
from export_pipeline.faults import reach
from export_pipeline.ingest import quarantine
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.jobs import USER
from export_pipeline.objects import (
    files_below,
    for_arrow,
    is_remote,
    reading,
    relative,
    remove_file,
    replacing,
)
from export_pipeline.outages import answering
from export_pipeline.privacy.erasing_store import quiet
from export_pipeline.privacy.matching import Needles
from export_pipeline.privacy.passes import Pass, under_way
from export_pipeline.privacy.places import clear_access, made_below
from export_pipeline.privacy.suppressing import CODE, Counts
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.days import AGGREGATES
from export_pipeline.store.maintenance import LOCK as MAINTENANCE
from export_pipeline.store.maintenance import sweep_scratch

PURGE = "purge"
BEFORE = "before"
"""The step under which the ledger keeps who held copies of rows, and which uploads were begun, when the
store had just been erased."""
EXPIRED = "it held a person who was erased; ask for it again"

_FILE = "file"
_PATIENCE_SECONDS = 300.0
_LOOK_SECONDS = 0.1
_BLOCK_BYTES = 1 << 20


def purge(settings: Settings, store: Store, ledger: Ledger, request_id: str, now: datetime) -> Counts:
    """Clear what is left of the people of a request's pass beside store and export files.

    Exports that were begun before the store was erased, on whatever machine, are waited for: they are planned
    again.

    Raises:
        Conflict: if the pass was not resolved, or the request is complete.
        DamagedData: if a quarantine file cannot be read.
        TransientError: if an export takes too long, or the ledger's log is in use.
    """
    erasing = under_way(ledger, request_id, now)
    needles = erasing.needles
    holders, uploads = _begun_before(settings, ledger, erasing, now)
    _wait_for(settings, holders)
    _sweep(settings, store, ledger, now)
    _abort(settings, ledger, uploads)
    counts = {"accessExports": 0, "quarantine": 0, "ledger": 0}
    counts |= ledger.erasure_steps.get(erasing.id, PURGE) or {}

    def note(name: str, more: int) -> None:
        # At once, so that what an attempt that dies has cleared is counted.
        counts[name] += more
        ledger.erasure_steps.note(erasing.id, PURGE, counts, now)

    for archives in _expired(settings, ledger, needles, now):
        note("accessExports", archives)
    reach(settings, "erasure.expired")
    with quiet(settings, store, ledger, now):
        for path in quarantine.files(settings):
            if lines := _clean(settings, path, needles):
                note("quarantine", lines)
    note("ledger", ledger.replace_texts(needles.replace))
    reach(settings, "erasure.replaced")
    ledger.empty_log()
    return counts


def count(settings: Settings, ledger: Ledger, needles: Needles, now: datetime) -> Counts:
    """What ``purge`` would clear, changing nothing."""
    archives = [job for job in ledger.jobs.complete_of(USER, now) if _holds(settings, job.path, needles)]
    lines = sum(
        int(_mentioned(part, needles).sum())
        for path in quarantine.files(settings)
        for part in _row_groups(path, settings)
    )
    return {"accessExports": len(archives), "quarantine": lines}


def _sweep(settings: Settings, store: Store, ledger: Ledger, now: datetime) -> None:
    sweep(settings.tmp / "exports", SCRATCH)
    sweep_unpublished(settings)
    clear_access(settings, ledger, now)
    # Archives that wait for their place were collected before the store was erased, and are again.
    for folder in made_below(settings).glob("*"):
        with ledger.lock(lock_name(folder.name)):
            shutil.rmtree(folder, ignore_errors=True)
    with ledger.lock(MAINTENANCE):
        sweep_scratch(settings)
    with quiet(settings, store, ledger, now):
        pass  # which has put right what a dead ingest left
    for spilled in (settings.tmp / "query").glob("*"):
        with suppress(OSError):
            spilled.unlink()


def _begun_before(
    settings: Settings, ledger: Ledger, erasing: Pass, now: datetime
) -> tuple[frozenset[str], frozenset[str]]:
    """The holders of rows and the ids of the uploads that were there at the first attempt at this step: those
    that came since have nothing of what was erased before it."""
    if (noted := ledger.erasure_steps.get(erasing.id, BEFORE)) is None:
        holders = sorted(locks.members(settings, HOLDERS))
        noted = {HOLDERS: holders, "uploads": [upload.id for upload in _unfinished(settings)]}
        ledger.erasure_steps.note(erasing.id, BEFORE, noted, now)
    return frozenset(noted[HOLDERS]), frozenset(noted["uploads"])


def _wait_for(settings: Settings, holders: frozenset[str]) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while holders & locks.members(settings, HOLDERS):
        if time.monotonic() > until:
            raise TransientError("an export begun before the erasure is still being made; try again")
        time.sleep(_LOOK_SECONDS)


def _abort(settings: Settings, ledger: Ledger, uploads: frozenset[str]) -> None:
    """Give up those of ``uploads`` that are still not finished: whoever sent them has ended."""
    # Holders were waited for, ingest and maintenance by sweeping; these are the others that send.
    for name in (PUBLISHING, AGGREGATES):
        with ledger.lock(name):
            pass
    for upload in _unfinished(settings):
        if upload.id in uploads:
            with answering():
                buckets.abort(upload)


def _unfinished(settings: Settings) -> list[buckets.Upload]:
    """The uploads that are no objects yet, but for those of others to the landing prefix."""
    if not is_remote(settings.data):
        return []
    landing = f"{relative(settings.landing, settings.data)}/"
    with answering():
        return [each for each in buckets.unfinished(settings.data) if not each.name.startswith(landing)]


def _expired(settings: Settings, ledger: Ledger, needles: Needles, now: datetime) -> Iterator[int]:
    for job in ledger.jobs.complete_of(USER, now):
        if _holds(settings, job.path, needles):
            with suppress(Conflict):
                ledger.jobs.expire(job.id, CODE, EXPIRED, now)
            yield 1
    # What an attempt that died has expired but not removed, and what expired by itself.
    for archive, _, _ in files_below(settings.exports / USER):
        if _holds(settings, relative(archive, settings.exports), needles):
            archive.unlink()
            objects.flush(archive.parent)


def _holds(settings: Settings, name: str | None, needles: Needles) -> bool:
    """Whether an archive holds an id; one that cannot be read may."""
    if name is None:
        return False
    try:
        with reading(settings.exports / name) as packed, zipfile.ZipFile(packed) as archive:
            for member in archive.namelist():
                with archive.open(member) as content:
                    if mentions(content, needles):
                        return True
    except FileNotFoundError:
        return False
    except (zipfile.BadZipFile, OSError, EOFError):
        return True
    return False


def mentions(content: IO[bytes], needles: Needles) -> bool:
    """Whether a stream holds an id; memory holds a block of it."""
    held = b""
    while block := content.read(_BLOCK_BYTES):
        held += block
        if needles.occurs(held):
            return True
        held = held[-2 * needles.reach :]
    return False


def _clean(settings: Settings, path: UPath, needles: Needles) -> int:
    """Rewrite a quarantine file without the lines that mention an id; how many there were.

    An id in the name of the file that a line came from is replaced.
    """
    found = [_mentioned(part, needles) for part in _row_groups(path, settings)]
    gone = int(sum(mask.sum() for mask in found))
    named = any(needles.mentioned(part[_FILE]).any() for part in _row_groups(path, settings))
    if not gone and not named:
        return 0
    if all(mask.all() for mask in found):
        remove_file(path)
        return gone
    with replacing(path) as file:
        with pq.ParquetWriter(file, quarantine.SCHEMA, compression="zstd") as writer:
            for part, mask in zip(_row_groups(path, settings), found, strict=True):
                if not mask.all():
                    names = part.column_names.index(_FILE), part.schema.field(_FILE)
                    part = part.set_column(*names, needles.replace(part[_FILE])[0])
                    writer.write_table(part.filter(pa.array(~mask)))
        reach(settings, "erasure.cleaning")
    return gone


def _mentioned(part: pa.Table, needles: Needles) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    found = np.zeros(part.num_rows, bool)
    for name in part.column_names:
        column = part[name]
        if name != _FILE and (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
            found |= needles.mentioned(column)
    return found


def _row_groups(path: UPath, settings: Settings) -> Iterator[pa.Table]:
    try:
        with answering(), pq.ParquetFile(for_arrow(path)) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)
    except (pa.ArrowInvalid, OSError):
        name = quarantine.name_of(settings, path)
        raise DamagedData(
            f"quarantine/{name} cannot be read; it is a quarantine file that was damaged"
        ) from None
