"""The daily partitions: one export a data type, format and day, in versions (contract, sections 3 and 8).

Owns their names, when an existing version stands, and what a new one replaces.
"""

import json
import re
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime

from upath import UPath

from export_pipeline import objects
from export_pipeline.days import check_range
from export_pipeline.errors import DamagedData, TransientError
from export_pipeline.exports.comparing import came_and_went
from export_pipeline.exports.executors import makers
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.exports.looking import Look
from export_pipeline.exports.making import Made, Sources, Waiting, closed, make_published, seal
from export_pipeline.exports.manifest import InvalidManifest, Manifest, Replaces, from_json
from export_pipeline.exports.publishing import Making, room, scratch
from export_pipeline.exports.request import ExportRequest, check_data_types, check_format
from export_pipeline.exports.verification import export_problems
from export_pipeline.exports.writing import Progress
from export_pipeline.faults import reach
from export_pipeline.files import to_json
from export_pipeline.ledger import Ledger
from export_pipeline.objects import is_remote
from export_pipeline.outages import answering
from export_pipeline.settings import Settings
from export_pipeline.store import Store

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_VERSION = re.compile(r"v([1-9][0-9]*)", re.ASCII)
SCRATCH = "export-"
"""How the directories under ``tmp/exports`` begin in which exports are made."""


_DAYS_AT_ONCE = 2
_SMALL_DAY_WINDOWS = 8
"""A day of this many windows or fewer leaves workers idle at its end; the next one is made meanwhile."""


@dataclass(frozen=True)
class DailyExport:
    """A published daily partition. ``created``: this call wrote its files; ``seconds``: how long it took."""

    manifest: Manifest
    path: UPath
    created: bool
    seconds: float

    @property
    def data_version(self) -> int:
        """The data version of the day that the files stand for."""
        return self.manifest.days[0].data_version

    @property
    def rows(self) -> int:
        """Rows in the files."""
        return self.manifest.row_count

    @property
    def bytes(self) -> int:
        """Bytes of the part files."""
        return self.manifest.total_bytes

    @property
    def sha256(self) -> tuple[str, ...]:
        """The SHA-256 of each part file, in order."""
        return tuple(file.sha256 for file in self.manifest.files)


def daily_tree(settings: Settings, data_type: str, format: str) -> UPath:
    """The directory of all partitions of a data type in a format."""
    return settings.exports / "daily" / data_type / format


def daily_folder(settings: Settings, data_type: str, format: str, day: date) -> UPath:
    """The directory of a partition's versions."""
    return daily_tree(settings, data_type, format) / day.isoformat()


def daily_lock(data_type: str, format: str, day: date) -> str:
    """The lock of whoever changes the versions of a partition."""
    return f"daily-{data_type}-{format}-{day}"


def daily_id(data_type: str, format: str, day: date, version: int) -> str:
    """The export id of a version of a partition."""
    return f"exp_{data_type}_{format}_{day:%Y%m%d}_v{version}"


def live_daily(settings: Settings, data_type: str, format: str, day: date) -> DailyExport | None:
    """The highest published version of a partition, unread; None if there is none.

    Raises:
        DamagedData: if its manifest cannot be read, naming it.
    """
    folder = daily_folder(settings, data_type, format, day)
    numbers = versions(folder)
    if not numbers:
        return None
    path = folder / f"v{numbers[-1]}"
    return DailyExport(read(path, settings), path, created=False, seconds=0.0)


def export_day(
    data_type: str,
    format: str,
    day: date,
    *,
    settings: Settings,
    store: Store,
    ledger: Ledger,
    now: datetime,
    waiting: Waiting = lambda _: (),
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> DailyExport:
    """Publish a partition, or find that the version there is stands.

    The live version stands as long as the day's data version is the one it was made from and its files are
    intact. Damaged, it is made again under the same name: the same rows give the same bytes. Rows
    changed, the next version is made and says what it replaces; the older one stays.

    Args:
        day: a day (UTC), not in the future.
        waiting: which days something landed waits for; decides ``complete`` in the manifest.
        executor: where windows are encoded and read back; default: threads.
        progress: told the number of rows just written.

    Raises:
        InvalidRequest: if the data type, the format or the day does not exist.
        OutsideRetention: if the day is no longer kept.
        DamagedData, TransientError, StorageFull: see ``making.make_published``.
    """
    began = time.monotonic()
    (kind,) = check_data_types([data_type])
    request = ExportRequest(day, day, (kind,), check_format(format))
    check_range(day, day, now, settings.raw_retention_days)
    with (
        answering(),
        ledger.lock(daily_lock(data_type, format, day)),
        makers(settings, executor) as pool,
    ):
        sources = Sources(settings, store, ledger, pool, waiting)
        standing = _standing(request, sources)
        if standing:
            standing = _completed(standing, sources, now)
            return replace(standing, seconds=time.monotonic() - began)
        version = _Version(request, sources, now)
        with scratch(settings.tmp / "exports", SCRATCH) as made_in, room(settings.exports):
            manifest = make_published(made_in, request, sources, progress, version.place, version.seal)
            reach(settings, "export.published")
        final = daily_folder(settings, kind, format, day) / f"v{manifest.version}"
        return DailyExport(manifest, final, created=True, seconds=time.monotonic() - began)


def export_days(
    data_type: str,
    format: str,
    days: Sequence[date],
    *,
    settings: Settings,
    store: Store,
    ledger: Ledger,
    now: datetime,
    waiting: Waiting = lambda _: (),
) -> Generator[tuple[date, DailyExport | Exception], None, None]:
    """Publish partitions as ``export_day`` does: each day, in order, with its export or why there is none.

    Small days are made two at a time. A caller that stops asking ends what is under way.
    """
    left = threading.Event()

    def stop(_: int) -> None:
        if left.is_set():
            raise TransientError("nobody waits for the export any more")

    def made(day: date, pool: Executor) -> DailyExport | Exception:
        try:
            return export_day(
                data_type, format, day, settings=settings, store=store, ledger=ledger, now=now,
                waiting=waiting, executor=pool, progress=stop,
            )  # fmt: skip
        except Exception as error:
            return error

    at_once = _DAYS_AT_ONCE if _are_small(settings, ledger, data_type, days) else 1
    pending: deque[tuple[date, Future[DailyExport | Exception]]] = deque()
    with makers(settings, None) as pool, ThreadPoolExecutor(at_once, thread_name_prefix="day") as threads:
        try:
            for day in days:
                if len(pending) > at_once:
                    first, future = pending.popleft()
                    yield first, future.result()
                pending.append((day, threads.submit(made, day, pool)))
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            left.set()
            threads.shutdown(cancel_futures=True)


def _are_small(settings: Settings, ledger: Ledger, data_type: str, days: Sequence[date]) -> bool:
    if len(days) < 2:
        return False
    states = ledger.read_days(data_type, min(days), max(days))
    return max(states[day].rows for day in days) <= _SMALL_DAY_WINDOWS * settings.window_rows


def _standing(request: ExportRequest, sources: Sources) -> DailyExport | None:
    """The live version, if it was made from the data version of now and is intact."""
    (data_type,), day = request.data_types, request.start
    try:
        live = live_daily(sources.settings, data_type, request.format, day)
    except DamagedData:
        return None
    if live is None:
        return None
    state = sources.ledger.read_days(data_type, day, day)[day]
    if live.data_version != state.version or export_problems(live.path):
        return None
    return live


def _completed(standing: DailyExport, sources: Sources, now: datetime) -> DailyExport:
    """The version with its manifest brought up to date, if its day has closed since it was made."""
    manifest = standing.manifest
    if manifest.complete or not closed(manifest.days, sources, now):
        return standing
    manifest = replace(manifest, complete=True)
    objects.write(standing.path / MANIFEST, to_json(manifest.to_json()))
    return replace(standing, manifest=manifest)


class _Version:
    """The version of a partition to be made: its number, and what it replaces."""

    def __init__(self, request: ExportRequest, sources: Sources, now: datetime) -> None:
        (self._data_type,), self._day, self._format = request.data_types, request.start, request.format
        self._sources, self._now = sources, now
        self._partition = daily_folder(sources.settings, self._data_type, self._format, self._day)
        self._number = 1
        self._before: Manifest | None = None
        self._replaced: Replaces | None = None

    def place(self, looks: Mapping[str, Look]) -> UPath:
        """Where it is to appear; known before a row is read."""
        data_version = looks[self._data_type].days[self._day].state.version
        self._before = self._replaced = None
        self._number = _first_version(
            self._sources.ledger, self._data_type, self._format, self._day, data_version
        )
        for number in reversed(versions(self._partition)):
            try:
                before = read(self._partition / f"v{number}", self._sources.settings)
            except DamagedData:
                self._number = max(self._number, number)
                continue
            if before.days[0].data_version == data_version:
                self._number, self._replaced = number, before.replaces
            else:
                self._number, self._before = max(self._number, number + 1), before
            break
        return self._partition / f"v{self._number}"

    def seal(self, place: Making, made: Made) -> Manifest:
        """Seal what was made there."""
        replaces = self._replaced
        if before := self._before:
            folder = self._partition / f"v{before.version}"
            added, removed = came_and_went(folder, before, place.folder, made, self._sources, place.spill)
            replaces = Replaces(before.export_id, before.version, added, removed)
        return seal(
            place,
            made,
            export_id=daily_id(self._data_type, self._format, self._day, self._number),
            kind="daily",
            version=self._number,
            replaces=replaces,
            sources=self._sources,
            now=self._now,
        )


def _first_version(ledger: Ledger, data_type: str, format: str, day: date, data_version: int) -> int:
    """The version of an export of which none is left: the one that expired, or the next if rows changed."""
    expired = ledger.keeping.expired(data_type, format, day)
    if expired is None:
        return 1
    return expired.version + (expired.data_version != data_version)


def versions(folder: UPath) -> list[int]:
    """The numbers of the versions of a partition in its ``folder``, those with a manifest, oldest first."""
    there = _with_manifest(folder, f"v*/{MANIFEST}")
    return sorted(int(found[1]) for name in there if (found := _VERSION.fullmatch(name)))


def newest_versions(tree: UPath) -> dict[date, int]:
    """The highest version of each day that has one, by one listing of their tree."""
    newest: dict[date, int] = {}
    for name in _with_manifest(tree, f"*/v*/{MANIFEST}"):
        day, _, version = name.partition("/")
        if (found := _VERSION.fullmatch(version)) and _DAY.fullmatch(day):
            newest[date.fromisoformat(day)] = max(int(found[1]), newest.get(date.fromisoformat(day), 0))
    return newest


def _with_manifest(folder: UPath, pattern: str) -> set[str]:
    """The names below ``folder`` of directories that hold a manifest; ``pattern`` finds these on a disk."""
    if is_remote(folder):
        names = (objects.relative(path, folder) for path, _, _ in objects.files_below(folder))
    else:
        names = (objects.relative(path, folder) for path in folder.glob(pattern))
    return {name.removesuffix(f"/{MANIFEST}") for name in names if name.endswith(f"/{MANIFEST}")}


def read(path: UPath, settings: Settings) -> Manifest:
    """The manifest of the export in ``path``, below the state root.

    Raises:
        DamagedData: if it cannot be read, naming it.
        TransientError: if the object store does not answer.
    """
    name = (path / MANIFEST).relative_to(settings.data)
    try:
        with answering():
            return from_json(json.loads((path / MANIFEST).read_bytes()))
    except (OSError, ValueError, InvalidManifest) as error:
        raise DamagedData(f"{name} cannot be read: {error}") from None
