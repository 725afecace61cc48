"""What came and went between two versions of an export, by ``eventId`` (contract, section 8).

Where all rows of the older version are still in the store, nothing went and what came is the difference: to
count them reads two columns. Only else are the ids of both versions compared.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb

from export_pipeline.errors import ExportPipelineError
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.cursors import read_cursor
from export_pipeline.exports.making import Made, Sources
from export_pipeline.exports.manifest import FileEntry, Manifest
from export_pipeline.exports.scanning import FileGone, Scan, reading
from export_pipeline.objects import AnyPath, for_duckdb
from export_pipeline.sql import literal

_MEMORY = "256MB"


def came_and_went(
    before: AnyPath, manifest: Manifest, after: AnyPath, made: Made, sources: Sources, spill: Path
) -> tuple[int, int]:
    """Rows added and rows removed from the export in ``before`` to what was made in ``after``.

    Both have the same request. See ``compare`` for older files that cannot be read any more.
    """
    if _all_kept(manifest, made, sources, spill):
        return sum(file.rows for file in made.files) - manifest.row_count, 0
    return compare(before, manifest, after, made.files, spill)


def _all_kept(manifest: Manifest, made: Made, sources: Sources, spill: Path) -> bool:
    """Whether every row of an older export is in the store, and so in the one made after it.

    To batches up to its watermark no row is ever added: of as many rows, each is the same one.
    """
    if manifest.cursor is None or manifest.since or made.request.since:
        return False
    try:
        marks = read_cursor(sources.settings, manifest.cursor).watermarks
        kept = sum(
            _rows(
                Scan(
                    name,
                    day,
                    tuple(sources.store.files(DATA_TYPES[name].table, day, day)),
                    min(marks[name], seen.watermark),
                    made.request.filters,
                    str(spill),
                )
            )
            for name, seen in made.looks.items()
            for day in seen.days
        )
    except (ExportPipelineError, FileGone, KeyError):
        return False
    return kept == manifest.row_count


def _rows(scan: Scan) -> int:
    if not scan.files:
        return 0
    with reading(scan) as connection:
        found = connection.execute(f"select count(*) from {scan.source()}", dict(scan.parameters()))
        ((rows,),) = found.fetchall()
    return int(rows)


def compare(
    before: AnyPath, manifest: Manifest, after: AnyPath, files: Sequence[FileEntry], spill: Path
) -> tuple[int, int]:
    """Rows added and rows removed from the export in ``before`` to the files in ``after``.

    Both have the same format and compression. If the older files cannot be read any more, all their rows
    count as removed and all new ones as added.
    """
    old = _event_ids(before, manifest.files, manifest.format)
    new = _event_ids(after, files, manifest.format)
    try:
        with duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": str(spill)}) as connection:
            for_duckdb(connection, before)
            for_duckdb(connection, after)
            both = connection.execute(
                f"select count(n.eventId) filter (o.eventId is null), "
                f"count(o.eventId) filter (n.eventId is null) "
                f"from ({new}) n full join ({old}) o on n.eventId = o.eventId"
            ).fetchall()
    except duckdb.Error:
        return sum(file.rows for file in files), manifest.row_count
    added, removed = both[0]
    return int(added), int(removed)


def _event_ids(folder: AnyPath, files: Sequence[FileEntry], format: str) -> str:
    wanted = [literal(str(folder / file.name)) for file in files if file.rows]
    if not wanted:
        return "select null::varchar as eventId limit 0"
    paths = f"[{', '.join(wanted)}]"
    if format == "csv":
        options = "header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"'"
        return f"select eventId from read_csv({paths}, {options})"
    options = "format = 'newline_delimited', columns = {eventId: 'VARCHAR'}"
    return f"select eventId from read_json({paths}, {options})"
