"""What a round of retention removes of one kind of thing, and how it is counted."""

from collections.abc import Iterable
from dataclasses import dataclass

from export_pipeline import objects
from export_pipeline.objects import AnyPath, files_below


@dataclass(frozen=True)
class Item:
    """Rows, files and bytes removed, or that would be; bytes as they were on disk."""

    rows: int = 0
    files: int = 0
    bytes: int = 0

    def __add__(self, other: "Item") -> "Item":
        """Both together."""
        return Item(self.rows + other.rows, self.files + other.files, self.bytes + other.bytes)


def on_disk(paths: Iterable[AnyPath], rows: int = 0) -> Item:
    """The files at or below ``paths``, holding ``rows`` rows."""
    files = nbytes = 0
    for path in paths:
        sizes = [path.stat().st_size] if path.is_file() else [size for _, size, _ in files_below(path)]
        files += len(sizes)
        nbytes += sum(sizes)
    return Item(rows, files, nbytes)


def remove(paths: Iterable[AnyPath]) -> Item:
    """Delete ``paths``, folders with all they hold; what was there."""
    removed = Item()
    for path in paths:
        removed += on_disk([path])
        objects.remove(path)
    return removed
