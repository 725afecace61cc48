"""A file of a tree of data that grows step by step, each of which may be taken again after a death.

On this machine it is one file. An object cannot grow: there it is one object and, as it gets larger, pieces
in a folder beside it, so that a step writes a bounded number of bytes, and there are not many of them.
"""

import os
from contextlib import suppress
from dataclasses import dataclass

from upath import UPath

from export_pipeline import buckets, files, objects
from export_pipeline.objects import is_remote, local
from export_pipeline.pieces import Piece

PIECE_BYTES = 1 << 20
"""From how many bytes on an object is not made larger any more."""


@dataclass(frozen=True)
class _Part:
    path: UPath
    offset: int
    size: int


def extend(path: UPath, kept: int, more: bytes) -> int:
    """Let the file at ``path`` be its first ``kept`` bytes with ``more`` behind them; its bytes then."""
    if not is_remote(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(local(path), "ab") as file:
            file.truncate(kept)
            file.write(more)
            file.flush()
            os.fsync(file.fileno())
        files.flush(local(path.parent))
        return kept + len(more)
    parts = _parts(path)
    buckets.delete(part.path for part in parts if part.offset >= kept)
    last = max((part for part in parts if part.offset < kept), key=lambda part: part.offset, default=None)
    if last and kept - last.offset < PIECE_BYTES:
        before = last.path.fs.cat_file(last.path.path, start=0, end=kept - last.offset)
        objects.write(last.path, before + more)
    else:
        objects.write(_folder(path) / f"{kept:015d}{path.suffix}" if kept else path, more)
    return kept + len(more)


def pieces(path: UPath) -> tuple[Piece, ...]:
    """What the file at ``path`` is put together from.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    if not is_remote(path):
        return (Piece(path.stat().st_size, path=path),)
    parts = _parts(path)
    if not parts or parts[0].offset:
        raise FileNotFoundError(path.name)
    return tuple(Piece(part.size, path=part.path) for part in parts)


def _parts(path: UPath) -> list[_Part]:
    """The objects that a file consists of, in order."""
    parts = []
    with suppress(FileNotFoundError):
        parts.append(_Part(path, 0, path.stat().st_size))
    for found in buckets.listed(_folder(path)):
        parts.append(_Part(found.path, int(found.path.stem), found.size))
    return parts


def _folder(path: UPath) -> UPath:
    return path.with_suffix("")
