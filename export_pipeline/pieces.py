"""A file put together from pieces, some of them other files, read from any position in bounded memory."""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from export_pipeline.objects import AnyPath, part, reading

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Piece:
    """Bytes held here, or ``length`` bytes of the file ``path`` from ``offset`` on."""

    length: int
    content: bytes = b""
    path: AnyPath | None = None
    offset: int = 0

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from ``start`` to before ``end``, counted within the piece, in blocks."""
        if self.path is None:
            yield self.content[start:end]
            return
        rest = end - start
        for block in part(self.path, self.offset + start, self.offset + end):
            rest -= len(block)
            yield block
        if rest:
            raise EOFError(f"{self.path.name} ends {rest} bytes too early")


@dataclass(frozen=True)
class Packed(Piece):
    """The content of the file ``name`` in the archive ``path``; to begin late, what is before is unpacked."""

    name: str = ""

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from ``start`` to before ``end``, in blocks."""
        assert self.path is not None
        with (
            reading(self.path) as packed,
            zipfile.ZipFile(packed) as archive,
            archive.open(self.name) as file,
        ):
            file.seek(start)
            rest = end - start
            while rest:
                block = file.read(min(rest, BLOCK_BYTES))
                if not block:
                    raise EOFError(f"{self.name} in {self.path.name} ends {rest} bytes too early")
                rest -= len(block)
                yield block


def held(content: bytes) -> Piece:
    """A piece of bytes in memory."""
    return Piece(len(content), content)


def of_file(path: AnyPath, offset: int = 0, *, size: int | None = None) -> Piece:
    """A file from ``offset`` to its end; ``size``: its bytes, if they are known."""
    size = path.stat().st_size if size is None else size
    return Piece(size - offset, path=path, offset=offset)


def inside(path: AnyPath, name: str) -> Piece:
    """The whole content of the file ``name`` in the archive ``path``."""
    with reading(path) as packed, zipfile.ZipFile(packed) as archive:
        return Packed(archive.getinfo(name).file_size, path=path, name=name)


@dataclass(frozen=True)
class Assembled:
    """What is sent as one file. ``etag`` is the opaque part of a strong entity tag: same tag, same bytes."""

    name: str
    media_type: str
    etag: str
    pieces: Sequence[Piece]

    @cached_property
    def length(self) -> int:
        """Bytes in all."""
        return sum(piece.length for piece in self.pieces)

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from ``start`` to before ``end``, in blocks."""
        ends = accumulate(piece.length for piece in self.pieces)
        for piece, piece_end in zip(self.pieces, ends, strict=True):
            piece_start = piece_end - piece.length
            if piece_end > start and piece_start < end:
                yield from piece.read(max(start - piece_start, 0), min(end, piece_end) - piece_start)
