"""Making an export: from a request to a whole directory, published.

Owns what of the store belongs to it: one look at the ledger, the files planned after it, and the rows
counted against that look before anything is published; and that nobody who is erased meanwhile is in it.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from pathlib import Path

from export_pipeline.days import days_between
from export_pipeline.errors import DamagedData, OutsideRetention, TransientError
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.assembly import KeptChanged, KeptDay
from export_pipeline.exports.due import is_closed
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.exports.manifest import DayEntry, FileEntry, Manifest, Replaces, instant_text
from export_pipeline.exports.publishing import publish
from export_pipeline.exports.request import ExportRequest
from export_pipeline.exports.scanning import FileGone, Scan
from export_pipeline.exports.spans import RowsChanged
from export_pipeline.exports.writing import TASKS_A_WORKER, Progress, Shape, write_data_type
from export_pipeline.faults import reach
from export_pipeline.files import flush, to_json
from export_pipeline.ledger import Days, DayState, Ledger
from export_pipeline.ledger.erasures import ERASE_STORE
from export_pipeline.settings import Settings
from export_pipeline.store import Store

ATTEMPTS = 4
PUBLISHING = "publishing"
"""The lock under which exports appear, and under which erasures are counted."""
Waiting = Callable[[str], Collection[date] | None]
"""The days of a data type for which something landed and waits; None where it could be any day."""

Kept = Callable[[str, date, DayState], KeptDay | None]
"""The daily export that holds all rows of a data type's day in a state, if there is one to take over."""


@dataclass(frozen=True)
class Sources:
    """Where rows come from and what works on them."""

    settings: Settings
    store: Store
    ledger: Ledger
    executor: Executor
    waiting: Waiting


@dataclass(frozen=True)
class Made:
    """The files of an export that is not yet published, and the versions they stand for.

    ``erasures``: how often people were erased from each data type and day before it was planned.
    """

    request: ExportRequest
    days: tuple[DayEntry, ...]
    files: tuple[FileEntry, ...]
    erasures: Mapping[tuple[str, date], int]


@contextmanager
def workers(settings: Settings, executor: Executor | None) -> Iterator[Executor]:
    """``executor``, or threads as many as the settings say, for the length of the block."""
    if executor is not None:
        yield executor
        return
    threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="export")
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


def make_published(
    scratch: Path,
    request: ExportRequest,
    sources: Sources,
    progress: Progress | None,
    finish: Callable[[Path, Made], tuple[Manifest, Path]],
    kept: Kept | None = None,
) -> tuple[Manifest, Path]:
    """Make the export that ``request`` asks for in ``scratch``, and move it to its place.

    It is planned again if people were erased from its days before it appeared.

    Args:
        finish: seals the directory of what was made; gives its manifest and its place.
        kept: see ``make``.

    Raises:
        DamagedData, TransientError, StorageFull: see ``make``.
    """
    for _ in range(ATTEMPTS):
        folder, made = make(scratch, request, sources, progress, kept)
        manifest, final = finish(folder, made)
        reach(sources.settings, "export.finished")
        with sources.ledger.lock(PUBLISHING):
            if made.erasures == _erasures(request, sources.ledger):
                publish(folder, final)
                return manifest, final
        shutil.rmtree(folder)
    raise TransientError(f"people were erased from the days asked for {ATTEMPTS} times in a row; try again")


def make(
    scratch: Path,
    request: ExportRequest,
    sources: Sources,
    progress: Progress | None,
    kept: Kept | None = None,
) -> tuple[Path, Made]:
    """Write the files that ``request`` asks for, all but the manifest, to a new directory in ``scratch``.

    Args:
        kept: days not to be computed if there is another way; it makes no difference to the bytes.

    Raises:
        OutsideRetention: if days were dropped meanwhile.
        DamagedData: if a store file is missing or damaged, naming it, or the files read back wrong.
        TransientError: if the rows were changed by others every time.
        StorageFull: if there is no room.
    """
    gone: str | None = None
    miscounted: str | None = None
    for attempt in range(ATTEMPTS):
        folder = scratch / f"attempt-{attempt}"
        folder.mkdir()
        looks = {name: _look(sources.ledger, name, request) for name in request.data_types}
        try:
            made = _write(folder, scratch / "spill", request, looks, sources, progress, kept)
        except FileGone as error:
            if error.path == gone:
                raise DamagedData(f"store file {_relative(gone, sources.settings)} is missing") from None
            gone = error.path
        except RowsChanged:
            pass
        except KeptChanged:
            kept = None
        else:
            reach(sources.settings, "export.written")
            for name in request.data_types:
                _check_kept(sources.ledger, name, request)
            miscounted = _miscounted(made, looks)
            # Rows that came meanwhile are above the watermark: they belong to the next version.
            if not miscounted:
                return folder, made
        shutil.rmtree(folder)
    if miscounted:
        if sources.ledger.erasures.unfinished_passes(ERASE_STORE):
            raise TransientError("people are being erased from the rows asked for; try again")
        raise DamagedData(miscounted)
    raise TransientError(f"the rows asked for were changed by others {ATTEMPTS} times in a row; try again")


def _look(ledger: Ledger, data_type: str, request: ExportRequest) -> Days:
    look = ledger.read_days(data_type, request.start, request.end)
    _check_kept(ledger, data_type, request)
    return look


def _check_kept(ledger: Ledger, data_type: str, request: ExportRequest) -> None:
    """Refuse days that were dropped since they were asked for: what is left of them is not what was there."""
    first = ledger.keeping.first_day(data_type)
    if first and request.start < first:
        raise OutsideRetention(
            f"startDate is {request.start}; raw events before {first} are no longer kept", field="startDate"
        )


def _erasures(request: ExportRequest, ledger: Ledger) -> dict[tuple[str, date], int]:
    looks = {name: _look(ledger, name, request) for name in request.data_types}
    return _counted(request, looks)


def _counted(request: ExportRequest, looks: Mapping[str, Days]) -> dict[tuple[str, date], int]:
    return {
        (name, day): look[day].erasures
        for name, look in looks.items()
        for day in days_between(request.start, request.end)
    }


def _write(
    folder: Path,
    spill: Path,
    request: ExportRequest,
    looks: dict[str, Days],
    sources: Sources,
    progress: Progress | None,
    kept: Kept | None,
) -> Made:
    settings = sources.settings
    shape = Shape(
        request.format,
        request.compression,
        settings.window_rows,
        settings.part_bytes,
        TASKS_A_WORKER * settings.workers,
    )
    days: list[DayEntry] = []
    files: list[FileEntry] = []
    for data_type, look in looks.items():
        wanted = [
            (kept and kept(data_type, day, look[day])) or _scan(data_type, day, look, spill, request, sources)
            for day in days_between(request.start, request.end)
            if look[day].rows
        ]
        try:
            written = write_data_type(folder, data_type, wanted, shape, sources.executor, progress)
        except DamagedData as error:
            message = error.message.replace(f"{settings.root}{os.sep}", "")
            raise DamagedData(message) from None
        for day in days_between(request.start, request.end):
            days.append(DayEntry(day, data_type, look[day].version, written.days.get(day, 0)))
        files += written.files
        reach(settings, f"export.{data_type}")
    return Made(request, tuple(days), tuple(files), _counted(request, looks))


def _miscounted(made: Made, looks: dict[str, Days]) -> str | None:
    """Where an export of all rows does not have as many as the ledger counted in."""
    if made.request.filters:
        return None
    for day in made.days:
        if day.rows != (counted := looks[day.data_type][day.date].rows):
            return (
                f"the store has {day.rows} rows of {day.data_type} on {day.date}; the ledger counts {counted}"
            )
    return None


def _scan(
    data_type: str, day: date, look: Days, spill: Path, request: ExportRequest, sources: Sources
) -> Scan:
    files = sources.store.files(DATA_TYPES[data_type].table, day, day)
    return Scan(data_type, day, tuple(files), look.watermark, request.filters, str(spill))


def _relative(path: str, settings: Settings) -> str:
    return os.path.relpath(path, settings.root)


def seal(
    folder: Path,
    made: Made,
    *,
    export_id: str,
    kind: str,
    version: int,
    replaces: Replaces | None,
    sources: Sources,
    now: datetime,
) -> Manifest:
    """Write the manifest of what was made, last, and flush the directory to disk."""
    request = made.request
    manifest = Manifest(
        export_id=export_id,
        kind=kind,
        start=request.start,
        end=request.end,
        data_types=request.data_types,
        format=request.format,
        compression=request.compression,
        content_ids=request.filters.content_ids,
        event_types=request.filters.event_types,
        user_count=len(request.filters.user_ids),
        version=version,
        replaces=replaces,
        complete=closed(made.days, sources, now),
        days=made.days,
        files=made.files,
        created_at=instant_text(now),
    )
    write_manifest(sources.settings, folder, manifest)
    return manifest


def write_manifest(settings: Settings, folder: Path, manifest: Manifest) -> None:
    """Write the manifest of an export, the last of its files, and flush the directory to disk."""
    with open(folder / MANIFEST, "xb") as file:
        file.write(to_json(manifest.to_json()))
        file.flush()
        os.fsync(file.fileno())
    flush(folder)
    reach(settings, "export.sealed")


def closed(days: Iterable[DayEntry], sources: Sources, now: datetime) -> bool:
    """Whether every day is closed at ``now`` (contract, section 3), and has in it what landed before."""
    for data_type, entries in groupby(days, lambda day: day.data_type):
        of_type = list(entries)
        waiting = sources.waiting(data_type)
        # What was taken in between the export's look and this one waits no more, and has raised a version.
        look = sources.ledger.read_days(data_type, of_type[0].date, of_type[-1].date)
        for day in of_type:
            if not is_closed(day.date, now, sources.settings, waiting):
                return False
            if look[day.date].version != day.data_version:
                return False
    return True
