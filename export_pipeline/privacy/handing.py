"""Handing an archive over to a directory of the caller's choice (contract, section 9, ``users export``)."""

import shutil
from pathlib import Path

from export_pipeline.errors import InvalidRequest
from export_pipeline.exports.publishing import room
from export_pipeline.files import flush
from export_pipeline.ledger import Job
from export_pipeline.objects import READ_BYTES, reading
from export_pipeline.settings import Settings


def checked_out(out: Path, settings: Settings) -> Path:
    """The directory ``out``, absolute.

    Raises:
        InvalidRequest: if it is a file, or inside the state root, where nothing of a person may stay.
    """
    final, root = out.expanduser().resolve(), settings.root.resolve()
    if final.is_relative_to(root):
        raise InvalidRequest(f"out is {out}; it must be outside the state root, {root}", field="out")
    if final.exists() and not final.is_dir():
        raise InvalidRequest(f"out is {out}, a file; it must be a directory", field="out")
    return final


def hand_over(settings: Settings, job: Job, out: Path) -> Path:
    """A copy of a complete job's archive in ``out``, made if absent; where it is. It appears whole.

    Raises:
        InvalidRequest: see ``checked_out``.
        StorageFull: if there is no room.
    """
    archive = settings.exports / (job.path or "")
    final = checked_out(out, settings) / archive.name
    partial = final.with_name(f".{final.name}.tmp")
    with room(final.parent):
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            with reading(archive) as kept, open(partial, "wb") as file:
                shutil.copyfileobj(kept, file, READ_BYTES)
            flush(partial)
            partial.rename(final)
        finally:
            partial.unlink(missing_ok=True)
        flush(final.parent)
    return final
