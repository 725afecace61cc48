"""Listing all that lies below the state root: files, and the names of all there is."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """Something below the root: its path relative to it, with ``/``, and what the system says of it.

    ``link`` is where a link leads. ``problem`` says why it is nothing that can be searched. ``modified`` and
    ``changed`` are seconds since 1970.
    """

    path: str
    folder: bool = False
    size: int = 0
    modified: float = 0
    changed: float = 0
    link: str = ""
    problem: str | None = None


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
