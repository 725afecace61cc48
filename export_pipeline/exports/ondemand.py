"""An export into a directory of the caller's choice (contract, section 9, ``export``)."""

import json
from concurrent.futures import Executor
from datetime import date, datetime
from pathlib import Path

from export_pipeline import ids
from export_pipeline.errors import Conflict, DamagedData
from export_pipeline.exports.assembly import KeptDay
from export_pipeline.exports.daily import live_daily
from export_pipeline.exports.executors import threads
from export_pipeline.exports.layout import MANIFEST, descriptions
from export_pipeline.exports.making import Kept, Made, Sources, Waiting, make_published, seal
from export_pipeline.exports.manifest import InvalidManifest, Manifest, from_json
from export_pipeline.exports.outside import outside_root
from export_pipeline.exports.publishing import Making, room, scratch
from export_pipeline.exports.request import ExportRequest
from export_pipeline.exports.writing import Progress
from export_pipeline.ledger import DayState, Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store


def write_export(
    request: ExportRequest,
    out: Path,
    *,
    settings: Settings,
    store: Store,
    ledger: Ledger,
    now: datetime,
    waiting: Waiting = lambda _: (),
    overwrite: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Make the export that ``request`` asks for, as the directory ``out``, whole or not at all.

    Args:
        out: absent or empty, or with ``overwrite`` an export to be replaced; outside the state root.
        waiting: which days something landed waits for; decides ``complete`` in the manifest.
        executor: where windows are encoded and read back; default: threads.
        progress: told the number of rows just written.

    Raises:
        InvalidRequest: if ``out`` is inside the state root, holds it, or is a file.
        Conflict: if ``out`` is not empty.
        DamagedData, TransientError, StorageFull: see ``making.make_published``.
    """
    final = _checked(out, settings, overwrite)
    export_id = ids.EXPORT.new()
    with (
        scratch(final.parent, f".{final.name}.export-") as made_in,
        room(final.parent),
        threads(settings, executor) as pool,
    ):
        sources = Sources(settings, store, ledger, pool, waiting)

        def finish(place: Making, made: Made) -> Manifest:
            manifest = seal(
                place,
                made,
                export_id=export_id,
                kind="on_demand",
                version=1,
                replaces=None,
                sources=sources,
                now=now,
            )
            _checked(out, settings, overwrite)
            return manifest

        kept = kept_days(settings, request)
        return make_published(made_in, request, sources, progress, lambda _: final, finish, kept)


def kept_days(settings: Settings, request: ExportRequest) -> Kept | None:
    """How to find the daily exports from which ``request`` can be assembled; None if it cannot be."""
    if request.filters or request.since:
        return None

    def kept(data_type: str, day: date, state: DayState) -> KeptDay | None:
        try:
            live = live_daily(settings, data_type, request.format, day)
        except DamagedData:
            return None
        if live is None or (live.data_version, live.rows) != (state.version, state.rows):
            return None
        return KeptDay(data_type, day, request.format, live.path, live.manifest.files)

    return kept


def _checked(out: Path, settings: Settings, overwrite: bool) -> Path:
    final = outside_root(out, settings, replaced=True)
    if final.exists() and any(final.iterdir()):
        if not overwrite:
            raise Conflict(
                f"out is {out}, which is not empty; it must be absent or empty, or overwriting asked for",
                field="out",
            )
        if not _holds_only_an_export(final):
            raise Conflict(
                f"out is {out}, which holds something else than an export; only an export is overwritten",
                field="out",
            )
    return final


def _holds_only_an_export(folder: Path) -> bool:
    """Whether everything in ``folder`` can go; other programs have a ``manifest.json`` too."""
    try:
        manifest = from_json(json.loads((folder / MANIFEST).read_bytes()))
    except (OSError, ValueError, RecursionError, InvalidManifest):
        return False
    own = {MANIFEST, *(file.name for file in manifest.files)}
    own |= {name for data_type in manifest.data_types for name in descriptions(data_type)}
    inside = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return all(path.relative_to(folder).as_posix() in own for path in inside)
