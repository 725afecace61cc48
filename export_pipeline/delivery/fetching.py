"""Fetching a file: resumed where an earlier try stopped, and checked before it appears under its name.

Bytes go to a hidden file beside the final one, named by the entity tag, so that only bytes of the same
file are ever continued.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from export_pipeline.delivery.checking import one_file_problems
from export_pipeline.errors import Conflict, DamagedData, TransientError
from export_pipeline.exports.manifest import Manifest
from export_pipeline.exports.publishing import room
from export_pipeline.files import flush

TRIES = 5
PAUSE_SECONDS = 1.0

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)

Progress = Callable[[int, int | None], None]
"""Told the bytes that are there, and how many there will be."""


class Source(Protocol):
    """Where a file comes from. ``etag`` is its SHA-256 if the file was not put together from parts."""

    @property
    def name(self) -> str:
        """The file's name."""

    @property
    def length(self) -> int:
        """Bytes in all."""

    @property
    def etag(self) -> str:
        """The opaque part of its strong entity tag."""

    def read(self, start: int) -> Iterator[bytes]:
        """The bytes from ``start`` on; ``TransientError`` where the connection breaks."""

    def manifest(self) -> Manifest | None:
        """The manifest of the export it is, if there is one to be had."""


@dataclass(frozen=True)
class Fetched:
    """Where the file is, its bytes, how many of them were there before, and whether it could be checked."""

    path: Path
    bytes: int
    resumed_from: int
    checked: bool


def fetch(source: Source, out: Path, progress: Progress | None = None) -> Fetched:
    """Fetch a file to ``out``, a directory or the file's new path.

    Raises:
        Conflict: if there is something under the final name.
        DamagedData: if the bytes are not what they must be; they are removed.
        TransientError: if the connection broke again and again; the bytes that came stay for the next try.
        StorageFull: if there is no room.
    """
    final = out / source.name if out.is_dir() else out
    if final.exists():
        raise Conflict(f"{final} exists; move it away, or name another place", field="out")
    tag = hashlib.sha256(source.etag.encode()).hexdigest()[:16]
    partial = final.with_name(f".{final.name}.{tag}.part")
    with room(final.parent):
        final.parent.mkdir(parents=True, exist_ok=True)
        there = partial.stat().st_size if partial.exists() else 0
        if there > source.length:
            partial.unlink()
            there = 0
        _receive(source, partial, progress)
        checked = _check(source, partial)
        flush(partial)
        partial.rename(final)
        flush(final.parent)
    return Fetched(final, source.length, there, checked)


def _receive(source: Source, partial: Path, progress: Progress | None) -> None:
    failed = 0
    with open(partial, "ab", buffering=0) as file:
        while (at := file.tell()) < source.length:
            try:
                for block in source.read(at):
                    file.write(block)
                    at += len(block)
                    if progress:
                        progress(at, source.length)
                if at < source.length:
                    raise TransientError(f"the connection ended after {at} of {source.length} bytes")
            except TransientError:
                failed += 1
                if failed == TRIES:
                    raise
                time.sleep(PAUSE_SECONDS * failed)


def _check(source: Source, partial: Path) -> bool:
    """Whether the bytes could be checked; they are removed if they are wrong."""
    problems: list[str] = []
    if _SHA256.fullmatch(source.etag):
        with open(partial, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != source.etag:
            problems = [f"its SHA-256 is {found}, not {source.etag}"]
    elif (manifest := source.manifest()) is not None:
        problems = one_file_problems(partial, manifest)
    else:
        return False
    if problems:
        partial.unlink()
        raise DamagedData(f"{source.name} is not as it was published: {problems[0]}; fetch it again")
    return True
