"""Handing an archive over to a directory of the caller's choice (contract, section 9, ``users export``)."""

import shutil
from pathlib import Path

from export_pipeline.exports.outside import outside_root
from export_pipeline.exports.publishing import room
from export_pipeline.files import flush
from export_pipeline.ledger import Job
from export_pipeline.objects import READ_BYTES, reading
from export_pipeline.settings import Settings


def hand_over(settings: Settings, job: Job, out: Path) -> Path:
    """A copy of a complete job's archive in ``out``, made if absent; where it is. It appears whole.

    Raises:
        InvalidRequest: see ``outside_root``.
        StorageFull: if there is no room.
    """
    archive = settings.exports / (job.path or "")
    final = outside_root(out, settings) / archive.name
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
