"""Publishing: where an export is made, and how it appears at its final name as a whole.

On this machine it is made in a scratch directory and moved. In an object store its files are written at their
final names, and the manifest is put last, if there is none yet: it is what makes a directory an export.
Owns scratch directories (held by a lock that dies with the process, so that what a dead process left is
known and swept), what was left at a final name without a manifest, and what a failed write means.
"""

import fcntl
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from export_pipeline import buckets, composing, locks, objects
from export_pipeline.errors import Conflict, DamagedData, TransientError
from export_pipeline.exports.layout import MANIFEST, PIECES, descriptions
from export_pipeline.exports.manifest import Manifest
from export_pipeline.files import flush, to_json
from export_pipeline.objects import AnyPath, is_remote, local
from export_pipeline.outages import answering
from export_pipeline.settings import Settings
from export_pipeline.storage_full import needing_room

HOLDERS = "holders"
"""The group of those who hold copies of rows that are not published: an erasure waits for who was in it
before. Join it before you look which rows there are."""

_LOCK = ".lock"
_DAILY_DEPTH, _JOB_DEPTH = 5, 2


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """A new directory under ``parent``, gone when the block ends unless it was moved away.

    Directories with the same prefix whose makers died are removed first.

    Raises:
        StorageFull: if there is no room, in here or in the block.
    """
    with room(parent):
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent, prefix)
        path = parent / f"{prefix}{uuid.uuid4().hex}"
        with _held(path.with_name(path.name + _LOCK)):
            try:
                path.mkdir()
                yield path
            finally:
                # A worker of a cluster that was lost may still write there.
                with suppress(OSError):
                    composing.clear(path)


def sweep(parent: Path, prefix: str) -> None:
    """Remove what dead processes left under ``parent``; what a live one holds is left alone."""
    for lock in parent.glob(f"{prefix}*{_LOCK}"):
        # What is held, swept by others meanwhile, or cannot be removed is known by its lock to the next.
        with suppress(OSError), open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            composing.clear(lock.with_name(lock.name.removesuffix(_LOCK)))
            lock.unlink()


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    while True:
        with open(lock, "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is(lock, file.fileno()):
                continue  # another process swept it between opening and locking
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


class Making(ABC):
    """An export that is being made, to appear at ``final``.

    Its files, all but the manifest, are written below ``folder``; then it is sealed, and published. ``spill``
    is a folder of this machine for what does not fit into memory.
    """

    def __init__(self, folder: AnyPath, final: AnyPath, spill: Path) -> None:
        self.folder, self.final, self.spill = folder, final, spill

    @abstractmethod
    def seal(self, manifest: Manifest) -> None:
        """Make all safe but what lets it appear."""

    @abstractmethod
    def publish(self) -> None:
        """Let it appear whole, in place of what was there; it stays when this returns.

        Raises:
            TransientError: if others wrote or published there meanwhile, or a lock was lost.
        """


@contextmanager
def making(settings: Settings, made_in: Path, final: AnyPath) -> Iterator[Making]:
    """A place to make the export that is to appear at ``final``; unless it is published, nothing of it stays.

    Args:
        made_in: a scratch directory, on the same file system as ``final`` if that is of this machine.
    """
    spill = made_in / "spill"
    if not is_remote(final):
        folder = made_in / f"made-{uuid.uuid4().hex}"
        folder.mkdir()
        try:
            yield _Directory(folder, final, spill)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    with locks.lock(settings, making_lock(settings, final)):
        # What is made again was found damaged: without its manifest it is no export any more.
        objects.remove(final / MANIFEST)
        _remove_unpublished(final)
        try:
            yield _Prefix(final, final, spill)
        except (OSError, DamagedData):
            # Files that are missing may have been removed by others, who took the place for a dead process's.
            locks.confirm()
            raise
        finally:
            with suppress(TransientError):
                locks.confirm()  # otherwise it may be another's who works there by now
                _remove_unpublished(final)


def making_lock(settings: Settings, final: AnyPath) -> str:
    """The lock that whoever makes something at ``final``, below the exports, holds as long as it has not
    appeared: without a holder it is left over."""
    return f"making-{objects.relative(final, settings.exports).replace('/', '-')}"


def sweep_unpublished(settings: Settings, *, thoroughly: bool = True) -> tuple[int, int]:
    """Remove what dead processes left of exports that never appeared, in an object store or by workers of a
    cluster; what a live one makes is left alone.

    Args:
        thoroughly: whether all exports of an object store are looked through; otherwise, in one listing
            however many there are, only what workers left, and where an upload was under way.

    Returns:
        How many files that were, and their bytes.
    """
    root = pieces = settings.exports / PIECES
    # What was only begun is not found by its files: a worker may still be at it.
    if is_remote(settings.exports):
        root = settings.exports if thoroughly else pieces
        begun = [
            objects.relative(each.path, settings.exports) for each in buckets.unfinished(settings.exports)
        ]
    else:
        begun = [f"{objects.relative(folder, settings.exports)}/" for folder in objects.inside(pieces)]
    found = {objects.relative(path, settings.exports): size for path, size, _ in objects.files_below(root)}
    sizes: dict[str, dict[str, int]] = {}
    for name in [*found, *begun]:
        depth = _DAILY_DEPTH if name.startswith("daily/") else _JOB_DEPTH
        *folder, file = name.split("/", depth)
        if len(folder) == depth:
            held = sizes.setdefault("/".join(folder), {})
            if name in found:
                held[file] = found[name]
    files = nbytes = 0
    for folder_name, held in sizes.items():
        final = settings.exports / folder_name
        if MANIFEST in held:
            continue
        with suppress(Conflict), locks.lock_soon(settings, making_lock(settings, final), 0):
            _remove_unpublished(final)
            files, nbytes = files + len(held), nbytes + sum(held.values())
    return files, nbytes


def _remove_unpublished(final: AnyPath) -> None:
    """Remove what is at ``final``, unless it is an export, and let nothing appear there that was begun."""
    if not (final / MANIFEST).exists():
        composing.clear(final)


class _Directory(Making):
    """One on this machine."""

    def seal(self, manifest: Manifest) -> None:
        folder = local(self.folder)
        with open(folder / MANIFEST, "xb") as file:
            file.write(to_json(manifest.to_json()))
            file.flush()
            os.fsync(file.fileno())
        flush(folder)

    def publish(self) -> None:
        """Move the directory; a process that dies between two renames leaves nothing, never a mixture."""
        locks.confirm()
        made, final = local(self.folder), local(self.final)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            final.rename(made.with_name(f"{made.name}-replaced"))
        made.rename(final)
        flush(final.parent)


class _Prefix(Making):
    """One in an object store."""

    _manifest: Manifest

    def seal(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def publish(self) -> None:
        """Put the manifest: the last word between two makers, whom their locks keep apart before."""
        locks.confirm()
        self._check_untouched()
        written, path = to_json(self._manifest.to_json()), self.final / MANIFEST
        try:
            objects.write(path, written, absent=True)
        except FileExistsError:
            raise TransientError(
                f"{objects.label(self.final)} was published by another meanwhile; try again"
            ) from None

    def _check_untouched(self) -> None:
        wanted = {file.name: file.bytes for file in self._manifest.files}
        for data_type in self._manifest.data_types:
            wanted |= {name: len(content) for name, content in descriptions(data_type).items()}
        found = objects.files_below(self.final)
        if {objects.relative(path, self.final): size for path, size, _ in found} != wanted:
            raise TransientError(f"others wrote to {objects.label(self.final)} while it was made; try again")


@contextmanager
def room(folder: AnyPath) -> Iterator[None]:
    """Turn the lack of room while writing below ``folder`` into ``StorageFull``, and an object store that
    does not answer into what ``answering`` says."""
    with needing_room(objects.label(folder)), answering():
        yield
