"""Reading export files back: bytes from the disk, unpacked by zlib-ng, their rows checked block by block.

Owns the walk over a part file, in bounded memory, and what is wrong with its bytes; what is wrong
with its rows is found by ``rows``.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

from export_pipeline.errors import DamagedData
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.manifest import FileEntry, instant_text
from export_pipeline.exports.rows import Content, Problem, check
from export_pipeline.objects import AnyPath, part

BLOCK_BYTES = 1 << 21
"""Of whole rows checked at once. Twice as many gain no time, and several threads hold them at once."""

_QUOTE, _NEWLINE = ord('"'), ord("\n")

Longs = npt.NDArray[np.int64]
_GZIP = 31
_BROKEN = cast(type[Exception], zlib_ng.error)


@dataclass(frozen=True)
class Range:
    """Consecutive bytes of a part file that hold whole rows and, compressed, whole gzip members.

    ``header``: the file's first bytes are among them.
    """

    path: AnyPath
    data_type: str
    format: str
    compression: str
    offset: int
    length: int
    header: bool


def read_range(span: Range) -> Content:
    """What a range of a part holds; several can be read side by side."""
    return _read(span, _of_range(span.path, span.offset, span.length))


def read_part(
    path: AnyPath,
    data_type: str,
    format: str,
    compression: str,
    read: Callable[[int], None] | None = None,
) -> Content:
    """What a whole part file holds, in memory bounded by a block.

    Args:
        read: told how many more of its bytes were read.
    """
    whole = Range(path, data_type, format, compression, 0, path.stat().st_size, header=True)
    pieces = _of_range(path, whole.offset, whole.length)
    return _read(whole, pieces if read is None else told(pieces, read))


def told(pieces: Iterable[bytes], read: Callable[[int], None]) -> Iterator[bytes]:
    """The same pieces; ``read`` is told the bytes of each."""
    for piece in pieces:
        read(len(piece))
        yield piece


def read_rows(pieces: Iterable[bytes], data_type: str, format: str) -> Content:
    """What rows without compression or header hold, in memory bounded by a block."""
    content = Content()
    for block in _blocks(pieces, format):
        content.extend(check(data_type, format, block))
    return content


def unlike(entry: FileEntry, size: int, sha256: str, found: Content) -> list[str]:
    """How rows that were found in so many bytes with this hash differ from their entry; ends of sentences."""
    problems = [str(problem) for problem in found.problems]
    if size != entry.bytes:
        problems.append(f"has {size} bytes; the manifest says {entry.bytes}")
    if sha256 != entry.sha256:
        problems.append(f"has the SHA-256 {sha256}; the manifest says {entry.sha256}")
    if found.problems:
        return problems
    if found.rows != entry.rows:
        problems.append(f"has {found.rows} rows; the manifest says {entry.rows}")
    for name, key, said in (
        ("first", found.first, entry.first_timestamp),
        ("last", found.last, entry.last_timestamp),
    ):
        instant = instant_text(key.us) if key else None
        if instant != said:
            problems.append(f"has {instant} as its {name} timestamp; the manifest says {said}")
    return problems


def row_blocks(path: AnyPath, data_type: str, format: str, compression: str) -> Iterator[bytes]:
    """The rows of a whole part file, without a header, in blocks of whole lines.

    Raises:
        DamagedData: if its bytes are not what was written.
    """
    content = Content()
    try:
        chunks = _of_range(path, 0, path.stat().st_size)
        plain = _inflated(chunks) if compression == "gzip" else chunks
        blocks = _blocks(plain, format)
        if format == "csv":
            blocks = _without_header(blocks, data_type, content)
        for block in blocks:
            if content.problems or (block and not block.endswith(b"\n")):
                raise _Unreadable("is not what was published")
            if block:
                yield block
    except _Unreadable as error:
        raise DamagedData(f"{path.name} {error}") from None


def row_ends(content: bytes, format: str) -> Longs:
    """Where each row of ``content`` ends, its newline included."""
    octets = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(octets == _NEWLINE)
    if format == "csv":
        # A line break inside a quoted cell has an odd number of quotes before it.
        ends = ends[np.searchsorted(np.flatnonzero(octets == _QUOTE), ends) % 2 == 0]
    return ends + 1


def digest(path: AnyPath) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    if isinstance(path, Path):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    found = hashlib.sha256()
    for piece in part(path, 0, path.stat().st_size):
        found.update(piece)
    return found.hexdigest()


class _Unreadable(Exception):
    pass


def _read(span: Range, chunks: Iterable[bytes]) -> Content:
    content = Content()
    try:
        plain = _inflated(chunks) if span.compression == "gzip" else iter(chunks)
        blocks = _blocks(plain, span.format)
        if span.header and span.format == "csv":
            blocks = _without_header(blocks, span.data_type, content)
        for block in blocks:
            content.extend(check(span.data_type, span.format, block))
    except _Unreadable as error:
        content.problems.append(Problem(str(error)))
    return content


def _of_range(path: AnyPath, offset: int, length: int) -> Iterator[bytes]:
    for piece in part(path, offset, offset + length):
        length -= len(piece)
        yield piece
    if length:
        raise _Unreadable(f"ends {length} bytes too early")


def _inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The content of gzip members, in pieces of bounded size, their checksums checked."""
    member = None
    try:
        for chunk in chunks:
            while chunk:
                member = member or zlib_ng.decompressobj(_GZIP)
                yield member.decompress(chunk, BLOCK_BYTES)
                chunk = member.unused_data if member.eof else member.unconsumed_tail
                if member.eof:
                    member = None
            while member and (more := member.decompress(b"", BLOCK_BYTES)):
                yield more
            if member and member.eof:
                member = None
    except _BROKEN as error:
        raise _Unreadable(f"is not intact gzip: {error}") from None
    if member:
        raise _Unreadable("ends inside a gzip member")


def _blocks(pieces: Iterable[bytes], format: str) -> Iterator[bytes]:
    """The same bytes in blocks that end where a row ends, the last one wherever it does."""
    pending: list[bytes] = []
    size = 0
    for piece in pieces:
        pending.append(piece)
        size += len(piece)
        if size >= BLOCK_BYTES and (end := _last_row_end(pending, format)):
            yield b"".join([*pending[:-1], memoryview(piece)[:end]])
            pending = [piece[end:]]
            size = len(pending[0])
    if rest := b"".join(pending):
        yield rest


def _last_row_end(pieces: Sequence[bytes], format: str) -> int:
    """Where in the last of ``pieces``, which begin with a row, the last row ends; 0 if none does."""
    content = pieces[-1]
    end = content.rfind(b"\n") + 1
    if format == "csv" and end:
        # Inside a quoted cell the number of quotes before is odd.
        quotes = content.count(b'"', 0, end) + sum(piece.count(b'"') for piece in pieces[:-1])
        while end and quotes % 2:
            before = content.rfind(b"\n", 0, end - 1) + 1
            quotes -= content.count(b'"', before, end)
            end = before
    return end


def _without_header(blocks: Iterator[bytes], data_type: str, content: Content) -> Iterator[bytes]:
    first = next(blocks, b"")
    header = (",".join(DATA_TYPES[data_type].csv_columns) + "\n").encode()
    if first.startswith(header):
        first = first[len(header) :]
    else:
        content.problems.append(Problem(f"does not begin with the header of {data_type}"))
        first = first[_last_row_end([first[: first.find(b"\n") + 1]], "csv") :]
    yield first
    yield from blocks
