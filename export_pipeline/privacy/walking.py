"""Listing all that lies below the state root, and in the bucket: files, and the names of all there is."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from upath import UPath

from export_pipeline import buckets


@dataclass(frozen=True)
class Entry:
    """Something below a root: its path relative to it, with ``/``, and what the system says of it.

    ``link`` is where a link leads. ``problem`` says why it is nothing that can be searched. ``modified`` and
    ``changed`` are seconds since 1970. ``object`` is where it is in the bucket, if it is there; ``upload``
    says that it is on its way there.
    """

    path: str
    folder: bool = False
    size: int = 0
    modified: float = 0
    changed: float = 0
    link: str = ""
    problem: str | None = None
    upload: bool = False
    object: UPath | None = None

    @property
    def known(self) -> tuple[bool, str]:
        """What tells it from everything else, here and in the bucket."""
        return self.object is not None, self.path


def walk_objects(root: UPath) -> Iterator[Entry]:
    """Every object below ``root``, and every upload that is none yet: nobody can read what it holds."""
    for found in buckets.listed(root):
        problem = None
        if found.name.endswith("/"):
            problem = "it stands for a folder, and holds bytes" if found.size else None
            yield Entry(found.name, folder=True, problem=problem, object=found.path)
            continue
        if buckets.key_of(found.path) != f"{buckets.key_of(root).rstrip('/')}/{found.name}".lstrip("/"):
            problem = "its name has empty or relative parts, so that nobody can read it"
        yield Entry(
            found.name,
            size=found.size,
            modified=found.written,
            changed=found.written,
            problem=problem,
            object=found.path,
        )
    for upload in buckets.unfinished(root):
        yield Entry(upload.name, modified=upload.begun, changed=upload.begun, upload=True, object=upload.path)


def walk(root: Path) -> Iterator[Entry]:
    """Everything below ``root``, folders before what is in them; links are followed, each folder once."""
    yield from _walk(root, "", {os.path.realpath(root)})


def _walk(root: Path, folder: str, visited: set[str]) -> Iterator[Entry]:
    try:
        found = list(os.scandir(root / folder))
    except FileNotFoundError:
        return
    except OSError as error:
        yield Entry(folder, folder=True, problem=f"it cannot be listed ({error.strerror})")
        return
    for each in found:
        path = f"{folder}/{each.name}" if folder else each.name
        link = ""
        with suppress(FileNotFoundError):
            if each.is_symlink():
                link = str(Path(each.path).readlink())
            if each.is_dir():
                yield Entry(path, folder=True, link=link)
                if (real := os.path.realpath(each.path)) not in visited:
                    visited.add(real)
                    yield from _walk(root, path, visited)
                continue
            yield _file(path, link, each.stat())
            continue
        if link:
            yield Entry(path, folder=True, link=link)  # it leads nowhere: there is nothing but its name


def _file(path: str, link: str, about: os.stat_result) -> Entry:
    return Entry(
        path,
        size=about.st_size,
        modified=about.st_mtime,
        changed=about.st_ctime,
        link=link,
        problem=None if stat.S_ISREG(about.st_mode) else "it is no file, so nobody can read it to its end",
    )
