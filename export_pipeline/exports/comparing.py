"""What came and went between two versions of an export, by ``eventId`` (contract, section 8)."""

from collections.abc import Sequence
from pathlib import Path

import duckdb

from export_pipeline.exports.manifest import FileEntry, Manifest
from export_pipeline.sql import literal

_MEMORY = "256MB"


def compare(
    before: Path, manifest: Manifest, after: Path, files: Sequence[FileEntry], spill: Path
) -> tuple[int, int]:
    """Rows added and rows removed from the export in ``before`` to the files in ``after``.

    Both have the same format and compression. If the older files cannot be read any more, all their rows
    count as removed and all new ones as added.
    """
    old = _event_ids(before, manifest.files, manifest.format)
    new = _event_ids(after, files, manifest.format)
    try:
        with duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": str(spill)}) as connection:
            both = connection.execute(
                f"select count(n.eventId) filter (o.eventId is null), "
                f"count(o.eventId) filter (n.eventId is null) "
                f"from ({new}) n full join ({old}) o on n.eventId = o.eventId"
            ).fetchall()
    except duckdb.Error:
        return sum(file.rows for file in files), manifest.row_count
    added, removed = both[0]
    return int(added), int(removed)


def _event_ids(folder: Path, files: Sequence[FileEntry], format: str) -> str:
    wanted = [literal(str(folder / file.name)) for file in files if file.rows]
    if not wanted:
        return "select null::varchar as eventId limit 0"
    paths = f"[{', '.join(wanted)}]"
    if format == "csv":
        options = "header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"'"
        return f"select eventId from read_csv({paths}, {options})"
    options = "format = 'newline_delimited', columns = {eventId: 'VARCHAR'}"
    return f"select eventId from read_json({paths}, {options})"
