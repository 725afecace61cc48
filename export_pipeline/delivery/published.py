"""Published exports of jobs: where they lie, their manifest, and that they go when their time is over.

That of one person is an archive in the directory of all such, its manifest inside it.
"""

import json
from dataclasses import dataclass
from functools import lru_cache

from upath import UPath

from export_pipeline.errors import Conflict, DamagedData, Gone
from export_pipeline.exports.archives import read_manifest
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.exports.manifest import InvalidManifest, Manifest, from_json
from export_pipeline.ledger.jobs import COMPLETE, EXPIRED, USER, Job
from export_pipeline.outages import answering
from export_pipeline.settings import Settings

_HELD = 64


@dataclass(frozen=True)
class Published:
    """An export that can be downloaded: its directory and its manifest."""

    folder: UPath
    manifest: Manifest

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names of its part files, in the manifest's order."""
        return tuple(file.name for file in self.manifest.files)


def published(settings: Settings, job: Job) -> Published:
    """The export of a job.

    Raises:
        Gone: if its files have reached the end of their time.
        Conflict: if it is not complete.
        DamagedData: if it should be there and is not whole.
        TransientError: if the object store does not answer.
    """
    if job.state == EXPIRED:
        raise Gone(f"the files of {job.id} were kept until {job.expires_at:%Y-%m-%dT%H:%M:%SZ}; export again")
    if job.state != COMPLETE or job.path is None:
        raise Conflict(f"job {job.id} is {job.state}; only a complete one has files", field="jobId")
    place = settings.exports / job.path
    path = place if job.kind == USER else place / MANIFEST
    try:
        with answering():
            return Published(path.parent, _manifest(path, path.stat().st_mtime_ns))
    except (OSError, ValueError, InvalidManifest):
        raise DamagedData(f"the files of {job.id} are not as they were published; export again") from None


@lru_cache(_HELD)
def _manifest(path: UPath, _changed_ns: int) -> Manifest:
    if path.name != MANIFEST:
        return read_manifest(path).export
    return from_json(json.loads(path.read_bytes()))
