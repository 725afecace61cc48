"""The landing directory: which files wait, and claiming them for a batch.

A claimed file moves, on the same file system, into a folder of its batch beside the waiting ones, so a file
of the same name can land meanwhile. The folder's name says how far the batch is: ``.taken-<batch>`` while its
lines are not in the store, ``.stored-<batch>`` from then until it is removed. In a bucket a file stays where
it is, and ``claims`` says which version of it is taken.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from upath import UPath

from export_pipeline.errors import DamagedData
from export_pipeline.files import flush
from export_pipeline.ingest import claims
from export_pipeline.ingest.targets import TARGETS
from export_pipeline.objects import AnyPath, is_remote, label, local
from export_pipeline.settings import Settings
from export_pipeline.storage_full import is_full

_TAKEN, _STORED = ".taken-", ".stored-"


@dataclass(frozen=True)
class WaitingFile:
    """A file that is complete; ``size`` in bytes as it is stored. ``version`` tells what is in an object."""

    path: AnyPath
    size: int
    version: str = ""


def folder(settings: Settings, target: str) -> UPath:
    """Where the files of ``target`` land."""
    return settings.landing / target


def left_alone(name: str) -> bool:
    """Whether a file of this name is still being written or is not meant to be taken."""
    return name.startswith((".", "_")) or name.endswith(".tmp")


def waiting_files(settings: Settings, target: str) -> list[WaitingFile]:
    """The files of ``target`` that can be taken, by name."""
    place = folder(settings, target)
    if is_remote(place):
        return [
            WaitingFile(found.path, found.size, found.version)
            for found in claims.waiting(place)
            if not left_alone(found.name)
        ]
    return list(_files_in(local(place)))


def _files_in(directory: Path) -> Iterator[WaitingFile]:
    try:
        entries = sorted(directory.iterdir(), key=lambda path: path.name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DamagedData(f"{directory} cannot be listed: {error.strerror}; it must be a directory") from None
    for path in entries:
        if not left_alone(path.name):
            with suppress(FileNotFoundError):  # an ingest that runs now has claimed it
                found = path.stat()
                if S_ISREG(found.st_mode):
                    yield WaitingFile(path, found.st_size)


def cut_batch(files: Sequence[WaitingFile], limit: int) -> int:
    """How many of ``files`` make one batch of at most ``limit`` bytes; a file above it is a batch alone."""
    total = 0
    for count, file in enumerate(files):
        total += file.size
        if total > limit and count:
            return count
    return len(files)


def claim(settings: Settings, target: str, batch_id: str, names: Sequence[str]) -> list[WaitingFile]:
    """Claim the waiting files of a batch and return all that are its, by name.

    Done again after a death it finishes what was begun: a file that was claimed already is the batch's; one
    that is nowhere was taken away by somebody else and is no part of the batch.

    Raises:
        DamagedData: if the landing directory cannot be written.
    """
    if is_remote(folder(settings, target)):
        found = claims.claim(folder(settings, target), batch_id, names)
        return [WaitingFile(each.path, each.size, each.version) for each in found]
    place = local(folder(settings, target))
    claimed = place / f"{_TAKEN}{batch_id}"
    try:
        claimed.mkdir(parents=True, exist_ok=True)
        present = {path.name for path in claimed.iterdir()}
        for name in names:
            if name not in present:
                try:
                    _move(place / name, claimed / name)
                except FileNotFoundError:
                    continue
        flush(claimed)
        flush(place)
    except OSError as error:
        if is_full(error):
            raise
        raise DamagedData(
            f"{label(place)} cannot be written: {error.strerror}; "
            "ingest must be able to move and remove its files"
        ) from None
    return claimed_files(settings, target, batch_id)


def _move(file: Path, to: Path) -> None:
    if file.is_symlink() and not file.readlink().is_absolute():
        # A relative link would point elsewhere from another folder.
        to.symlink_to(file.parent.absolute() / file.readlink())
        file.unlink()
    else:
        file.rename(to)


def claimed_files(settings: Settings, target: str, batch_id: str) -> list[WaitingFile]:
    """The files of a batch that has not ended, by name; none once they are removed."""
    place = folder(settings, target)
    if is_remote(place):
        found = claims.claimed(place, batch_id)
        return [WaitingFile(each.path, each.size, each.version) for each in found]
    for state in (_TAKEN, _STORED):
        with suppress(FileNotFoundError):
            claimed = sorted((local(place) / f"{state}{batch_id}").iterdir(), key=lambda path: path.name)
            return [WaitingFile(path, path.stat().st_size) for path in claimed]
    return []


def mark_stored(settings: Settings, target: str, batch_id: str) -> None:
    """Note that the lines of a batch are in the store or the quarantine, so that its files can go."""
    if is_remote(settings.landing):
        claims.end(folder(settings, target), batch_id)
        return
    place = local(folder(settings, target))
    claimed = place / f"{_TAKEN}{batch_id}"
    if claimed.is_dir():
        claimed.rename(place / f"{_STORED}{batch_id}")
        flush(place)


def remove_stored(settings: Settings) -> None:
    """Remove the files of all batches that are stored; only while no other ingest runs."""
    if is_remote(settings.landing):
        return
    for target in TARGETS:
        for stored in local(folder(settings, target)).glob(f"{_STORED}*"):
            shutil.rmtree(stored)
