"""What a round of retention removes of one kind of thing, and how it is counted."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Item:
    """Rows, files and bytes removed, or that would be; bytes as they were on disk."""

    rows: int = 0
    files: int = 0
    bytes: int = 0

    def __add__(self, other: "Item") -> "Item":
        """Both together."""
        return Item(self.rows + other.rows, self.files + other.files, self.bytes + other.bytes)


def on_disk(paths: Iterable[Path], rows: int = 0) -> Item:
    """The files at or below ``paths``, holding ``rows`` rows."""
    files = nbytes = 0
    for path in paths:
        for each in path.rglob("*") if path.is_dir() else [path]:
            if each.is_file():
                files += 1
                nbytes += each.stat().st_size
    return Item(rows, files, nbytes)


def remove(paths: Iterable[Path]) -> Item:
    """Delete ``paths``, folders with all they hold; what was there."""
    removed = Item()
    for path in paths:
        removed += on_disk([path])
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return removed
