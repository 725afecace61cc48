"""Making an export: from a request to a whole directory, published.

Owns what of the store belongs to it: one look at the ledger, the files planned after it, and the rows
counted against that look before anything is published; and that nobody who is erased meanwhile is in it.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from pathlib import Path

from upath import UPath

from export_pipeline import locks
from export_pipeline.errors import DamagedData, TransientError
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.assembly import KeptChanged, KeptDay
from export_pipeline.exports.cursors import Cursor, signed, together
from export_pipeline.exports.due import is_closed
from export_pipeline.exports.executors import Cluster
from export_pipeline.exports.looking import Look, erasures, erasures_now, look, still_kept
from export_pipeline.exports.manifest import DayEntry, FileEntry, Manifest, Replaces, instant_text
from export_pipeline.exports.publishing import HOLDERS, Making, making
from export_pipeline.exports.request import ExportRequest
from export_pipeline.exports.scanning import FileGone, Scan
from export_pipeline.exports.spans import RowsChanged
from export_pipeline.exports.writing import Progress, Shape, write_data_type
from export_pipeline.faults import reach
from export_pipeline.ledger import DayState, Ledger
from export_pipeline.ledger.erasures import ERASE_STORE
from export_pipeline.objects import AnyPath
from export_pipeline.settings import Settings
from export_pipeline.store import Store

ATTEMPTS = 4
PUBLISHING = "publishing"
"""The lock under which exports appear, and under which erasures are counted."""
Waiting = Callable[[str], Collection[date] | None]
"""The days of a data type for which something landed and waits; None where it could be any day."""

Place = Callable[[Mapping[str, Look]], AnyPath]
"""Where an export is to appear, by the look at each data type that it is planned by."""

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
    """The files of an export that is not yet published, the versions they stand for, and the look at each
    data type they were planned by."""

    request: ExportRequest
    days: tuple[DayEntry, ...]
    files: tuple[FileEntry, ...]
    looks: Mapping[str, Look]


def make_published(
    scratch: Path,
    request: ExportRequest,
    sources: Sources,
    progress: Progress | None,
    place: Place,
    finish: Callable[[Making, Made], Manifest],
    kept: Kept | None = None,
) -> Manifest:
    """Make the export that ``request`` asks for, and let it appear; its manifest.

    It is planned again if people were erased from its days before it appeared.

    Args:
        scratch: a directory for what is needed on the way.
        place: where it is to appear, known before a row is read.
        finish: seals what was made; gives its manifest.
        kept: see ``make``.

    Raises:
        DamagedData, TransientError, StorageFull: see ``make``.
    """
    for _ in range(ATTEMPTS):
        with make(scratch, request, sources, progress, place, kept) as (making, made):
            manifest = finish(making, made)
            reach(sources.settings, "export.finished")
            with sources.ledger.lock(PUBLISHING):
                if _nobody_erased(made, sources.ledger):
                    making.publish()
                    return manifest
    raise TransientError(f"people were erased from the days asked for {ATTEMPTS} times in a row; try again")


@contextmanager
def make(
    scratch: Path,
    request: ExportRequest,
    sources: Sources,
    progress: Progress | None,
    place: Place,
    kept: Kept | None = None,
) -> Iterator[tuple[Making, Made]]:
    """Write the files that ``request`` asks for, all but the manifest; what was made, to be sealed.

    Nothing of it stays unless it is published before the block ends.

    Args:
        scratch: a directory for what is needed on the way.
        place: where it is to appear.
        kept: days not to be computed if there is another way; it makes no difference to the bytes.

    Raises:
        OutsideRetention: if days were dropped meanwhile.
        DamagedData: if a store file is missing or damaged, naming it, or the files read back wrong.
        TransientError: if the rows were changed by others every time.
        StorageFull: if there is no room.
    """
    gone: UPath | None = None
    miscounted: str | None = None
    for _ in range(ATTEMPTS):
        with ExitStack() as stack:
            stack.enter_context(locks.joined(sources.settings, HOLDERS))
            looks = {name: look(sources.ledger, name, request) for name in request.data_types}
            made_at = stack.enter_context(making(sources.settings, scratch, place(looks)))
            made: Made | None = None
            try:
                made = _write(made_at, request, looks, sources, progress, kept)
            except FileGone as error:
                if error.path == gone:
                    raise DamagedData(f"store file {_relative(gone, sources.settings)} is missing") from None
                gone = error.path
            except RowsChanged:
                pass
            except KeptChanged:
                kept = None
            if made:
                reach(sources.settings, "export.written")
                if all(still_kept(sources.ledger, one) for one in looks.values()):
                    miscounted = _miscounted(made)
                    # Rows that came meanwhile are above the watermark: they belong to the next version.
                    if not miscounted:
                        yield made_at, made
                        return
    if miscounted:
        if sources.ledger.erasures.unfinished_passes(ERASE_STORE):
            raise TransientError("people are being erased from the rows asked for; try again")
        raise DamagedData(miscounted)
    raise TransientError(f"the rows asked for were changed by others {ATTEMPTS} times in a row; try again")


def _nobody_erased(made: Made, ledger: Ledger) -> bool:
    """Whether nobody was erased from its days since it was planned."""
    looks = made.looks.values()
    kept = all(still_kept(ledger, one) for one in looks)
    return kept and erasures(looks) == erasures_now(ledger, looks)


def _write(
    place: Making,
    request: ExportRequest,
    looks: dict[str, Look],
    sources: Sources,
    progress: Progress | None,
    kept: Kept | None,
) -> Made:
    settings = sources.settings
    executor = sources.executor
    shape = Shape(
        request.format,
        request.compression,
        settings.window_rows,
        settings.part_bytes,
        executor.threads if isinstance(executor, Cluster) else settings.workers,
    )
    days: list[DayEntry] = []
    files: list[FileEntry] = []
    for data_type, seen in looks.items():
        planned = _files(seen, request, sources.store)
        rows = [
            (kept and kept(data_type, day, wanted.state))
            or Scan(
                data_type,
                day,
                planned(day),
                seen.watermark,
                request.filters,
                str(place.spill),
                wanted.after,
            )
            for day, wanted in seen.days.items()
            if wanted.rows
        ]
        try:
            written = write_data_type(place.folder, data_type, rows, shape, sources.executor, progress)
        except DamagedData as error:
            message = error.message.replace(f"{settings.root}{os.sep}", "")
            raise DamagedData(message) from None
        for day, wanted in seen.days.items():
            days.append(DayEntry(day, data_type, wanted.state.version, written.days.get(day, 0)))
        files += written.files
        reach(settings, f"export.{data_type}")
    return Made(request, tuple(days), tuple(files), looks)


def _miscounted(made: Made) -> str | None:
    """Where an export of all rows does not have as many as the ledger counted in."""
    if made.request.filters:
        return None
    wrong = (made.looks[entry.data_type].miscounted(entry) for entry in made.days)
    return next((text for text in wrong if text), None)


def _files(seen: Look, request: ExportRequest, store: Store) -> Callable[[date], tuple[UPath, ...]]:
    """The store's files to be read of a day."""
    table = DATA_TYPES[seen.data_type].table
    if request.since is None:
        return lambda day: tuple(store.files(table, day, day))
    by_day = store.files_since(table, min((day.after for day in seen.days.values()), default=seen.watermark))
    return lambda day: by_day.get(day, ())


def _relative(path: UPath, settings: Settings) -> str:
    return str(path.relative_to(settings.data))


def seal(
    place: Making,
    made: Made,
    *,
    export_id: str,
    kind: str,
    version: int,
    replaces: Replaces | None,
    sources: Sources,
    now: datetime,
) -> Manifest:
    """Seal what was made with its manifest."""
    request = made.request
    days = made.days
    start, end = request.start, request.end
    if request.since:
        days = tuple(day for day in days if day.rows)
        start = min((day.date for day in days), default=start)
        end = max((day.date for day in days), default=end)
    manifest = Manifest(
        export_id=export_id,
        kind=kind,
        start=start,
        end=end,
        data_types=request.data_types,
        format=request.format,
        compression=request.compression,
        content_ids=request.filters.content_ids,
        event_types=request.filters.event_types,
        user_count=len(request.filters.user_ids),
        version=version,
        replaces=replaces,
        complete=closed(days, sources, now),
        days=days,
        files=made.files,
        created_at=instant_text(now),
        cursor=_cursor(made, sources.settings, now),
        since=request.since.texts if request.since else (),
    )
    place.seal(manifest)
    reach(sources.settings, "export.sealed")
    return manifest


def _cursor(made: Made, settings: Settings, now: datetime) -> str:
    """What the next increment goes on from."""
    request = made.request
    watermarks = {name: seen.watermark for name, seen in made.looks.items()}
    if request.since:
        return signed(settings, together(request.since.cursors, watermarks, now))
    return signed(settings, Cursor(request.start, request.end, now, watermarks))


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
