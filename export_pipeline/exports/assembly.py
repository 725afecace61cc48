"""Assembly: a day of an export taken over from its daily export, instead of computed again.

A daily export's windows are the members of its gzip files, and the same windows make up any other export
of all rows of the day: so they are copied (contract, section 3: the same bytes, computed or assembled). The
second reader has read those bytes, under the SHA-256 of the daily export's manifest, which is checked before
anything of a day is used.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from itertools import pairwise
from typing import cast

import pyarrow as pa
from isal import isal_zlib

from export_pipeline.composing import Extent
from export_pipeline.exports.encoding import header
from export_pipeline.exports.manifest import FileEntry, instant_text
from export_pipeline.exports.readback import row_ends
from export_pipeline.exports.request import Compression, Format
from export_pipeline.exports.rows import Content, Key, check
from export_pipeline.exports.spans import LARGEST_BYTES, EncodedWindow
from export_pipeline.objects import AnyPath, part, reading

_GZIP = 31
_READ_BYTES = 1 << 20
_BROKEN = cast(type[Exception], isal_zlib.IsalError)


class KeptChanged(Exception):
    """The files of a daily export are not what its manifest says, or not cut as windows are cut now."""


@dataclass(frozen=True)
class KeptDay:
    """The gzip files of the daily export in ``folder`` that hold all rows of a day; plain data."""

    data_type: str
    day: date
    format: Format
    folder: AnyPath
    files: tuple[FileEntry, ...]


@dataclass(frozen=True)
class Piece:
    """A window in a file of a daily export: where its gzip member lies, and what is in it."""

    path: AnyPath
    day: date
    offset: int
    length: int
    checksum: int
    raw_bytes: int
    rows: int
    first: Key
    last: Key


@dataclass(frozen=True)
class KeptWindow(EncodedWindow):
    """A window taken over; ``found`` is what the second reader finds in it."""

    found: Content


def pieces(kept: KeptDay, window_rows: int) -> list[Piece]:
    """The windows of a daily export, in order; memory holds one of them.

    Raises:
        KeptChanged: if the files are gone or changed, or their windows are not of ``window_rows`` rows.
    """
    found: list[Piece] = []
    for file in kept.files:
        of_file = list(_pieces_of(kept, file))
        if not of_file or sum(piece.rows for piece in of_file) != file.rows:
            raise KeptChanged
        instants = (instant_text(of_file[0].first.us), instant_text(of_file[-1].last.us))
        if instants != (file.first_timestamp, file.last_timestamp):
            raise KeptChanged
        found += of_file
    if not _cut_alike(found, window_rows):
        raise KeptChanged
    return found


def _cut_alike(found: Sequence[Piece], window_rows: int) -> bool:
    """Whether windows of ``window_rows`` rows look like this: full, or the next one would not have fitted."""
    full = all(
        before.rows + after.rows > window_rows or before.raw_bytes >= LARGEST_BYTES
        for before, after in pairwise(found)
    )
    return full and all(piece.rows <= window_rows for piece in found)


def _pieces_of(kept: KeptDay, file: FileEntry) -> Iterator[Piece]:
    path = kept.folder / file.name
    start = header(kept.data_type, kept.format)
    for number, (offset, packed, raw) in enumerate(_members(path, file.sha256)):
        if number == 0 and start:
            if raw != start:
                raise KeptChanged
            continue
        rows, first, last = _ends(raw, kept)
        yield Piece(path, kept.day, offset, len(packed), zlib.crc32(packed), len(raw), rows, first, last)


def _members(path: AnyPath, expected: str) -> Iterator[tuple[int, bytes, bytes]]:
    """The gzip members of a file: offset, bytes, and content; at the end, that the file's hash is right."""
    digest = sha256()
    offset, packed, raw = 0, bytearray(), bytearray()
    member = None
    try:
        with reading(path) as file:
            while chunk := file.read(_READ_BYTES):
                digest.update(chunk)
                while chunk:
                    member = member or isal_zlib.decompressobj(_GZIP)
                    raw += member.decompress(chunk)
                    rest = member.unused_data
                    packed += chunk[: len(chunk) - len(rest)]
                    chunk = rest
                    if member.eof:
                        yield offset, bytes(packed), bytes(raw)
                        offset += len(packed)
                        packed, raw, member = bytearray(), bytearray(), None
    except (OSError, _BROKEN):
        raise KeptChanged from None
    if member or digest.hexdigest() != expected:
        raise KeptChanged


def _ends(raw: bytes, kept: KeptDay) -> tuple[int, Key, Key]:
    """How many rows a window has, and the keys of its first and last one."""
    ends = row_ends(raw, kept.format)
    if not len(ends) or ends[-1] != len(raw):
        raise KeptChanged
    begin = int(ends[-2]) if len(ends) > 1 else 0
    first = check(kept.data_type, kept.format, raw[: int(ends[0])])
    last = check(kept.data_type, kept.format, raw[begin:])
    if first.problems or last.problems or first.first is None or last.last is None:
        raise KeptChanged
    return len(ends), first.first, last.last


def where_it_lies(piece: Piece) -> KeptWindow:
    """A window of a daily export, its bytes left where they are for a store that copies them by itself."""
    return KeptWindow(
        (Extent(piece.path, piece.offset, piece.length),),
        piece.rows,
        piece.raw_bytes,
        piece.first.us,
        piece.last.us,
        Content(piece.rows, piece.first, piece.last, {piece.day: piece.rows}),
    )


def taken_over(piece: Piece, compression: Compression) -> KeptWindow:
    """The bytes of a window of a daily export as they stand in an export with ``compression``.

    Raises:
        KeptChanged: if they are not there any more.
    """
    try:
        content = b"".join(part(piece.path, piece.offset, piece.offset + piece.length))
    except OSError:
        raise KeptChanged from None
    if zlib.crc32(content) != piece.checksum:
        raise KeptChanged
    if compression == "none":
        content = isal_zlib.decompress(content, _GZIP, piece.raw_bytes)
    return KeptWindow(
        (pa.py_buffer(content),),
        piece.rows,
        piece.raw_bytes,
        piece.first.us,
        piece.last.us,
        Content(piece.rows, piece.first, piece.last, {piece.day: piece.rows}),
    )
