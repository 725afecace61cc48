"""Claiming files of a landing place in a bucket, where nothing can be moved: a claim says which ones, and in
which version.

The claim of a batch is an object beside the files, ``.taken-<batch>.json``. A file that was written again
since is no part of the batch: what it holds now waits like any other.
"""

import json
from collections.abc import Iterator, Sequence

from upath import UPath

from export_pipeline import buckets, objects
from export_pipeline.outages import answering

_TAKEN = ".taken-"


def waiting(place: UPath) -> Iterator[buckets.Found]:
    """The objects that lie directly in ``place``, by name, in one listing."""
    with answering():
        for found in buckets.listed(place, deep=False):
            if "/" not in found.name and buckets.key_of(found.path).endswith(f"/{found.name}"):
                yield found


def claim(place: UPath, batch_id: str, names: Sequence[str]) -> list[buckets.Found]:
    """Note which files ``names`` of ``place`` are a batch's, and give those that still are what was noted.

    Done again after a death, what was noted then counts.
    """
    claimed = _noted(place, batch_id)
    present = {found.name: found for found in waiting(place)}
    if claimed is None:
        wanted = set(names)
        claimed = {name: found.version for name, found in present.items() if name in wanted}
        objects.write(_path(place, batch_id), json.dumps(claimed).encode())
    return [found for name, found in present.items() if claimed.get(name) == found.version]


def claimed(place: UPath, batch_id: str) -> list[buckets.Found]:
    """The files of a batch that has not ended and that are still what was noted; none without a claim."""
    noted = _noted(place, batch_id) or {}
    return [found for found in waiting(place) if noted.get(found.name) == found.version] if noted else []


def end(place: UPath, batch_id: str) -> None:
    """Remove the files of a batch whose lines are stored, unless they were written again, and its claim."""
    noted = _noted(place, batch_id)
    if noted is not None:
        buckets.delete_unchanged({place / name: version for name, version in noted.items()})
        objects.remove_file(_path(place, batch_id))


def _path(place: UPath, batch_id: str) -> UPath:
    return place / f"{_TAKEN}{batch_id}.json"


def _noted(place: UPath, batch_id: str) -> dict[str, str] | None:
    try:
        noted: dict[str, str] = json.loads(objects.reading(_path(place, batch_id)).read())
    except FileNotFoundError:
        return None
    return noted
