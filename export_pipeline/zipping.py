"""A zip archive of files, laid out before it is sent, so that it can be resumed anywhere.

The standard library writes an archive only by passing all of its bytes through; here the headers are
computed and the files stay where they are. Archives and files over 4 GiB use the zip64 format.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from isal import isal_zlib

from export_pipeline.objects import AnyPath, reading
from export_pipeline.pieces import BLOCK_BYTES, Piece, held, of_file

_ABSENT = 0xFFFFFFFF
_LIMIT = _ABSENT
"""From here on a number is in the zip64 fields, and ``_ABSENT`` in the plain one."""

_PLAIN, _ZIP64 = 20, 45
_UTF8 = 1 << 11
_REGULAR_FILE = 0o100644 << 16
_UNIX = 3 << 8
_HELD = 4096
_STORED, _DEFLATED = 0, 8
_LEVEL, _RAW = 2, -15


@dataclass(frozen=True)
class Packed:
    """A file of an archive, packed: where its packed bytes are, and size, checksums of its content."""

    name: str
    path: Path
    size: int
    crc: int
    sha256: str


def pack(name: str, content: Iterable[bytes | memoryview], path: Path) -> Packed:
    """Pack ``content`` for the file ``name`` of an archive to ``path``, a piece at a time."""
    size, crc, digest = 0, 0, hashlib.sha256()
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW)
    with open(path, "xb") as file:
        for piece in content:
            size += memoryview(piece).nbytes
            crc = zlib.crc32(piece, crc)
            digest.update(piece)
            file.write(packer.compress(piece))
        file.write(packer.flush())
    return Packed(name, path, size, crc, digest.hexdigest())


def packed_zip(files: Sequence[Packed], made_at: str) -> list[Piece]:
    """The archive of packed files; ``made_at`` is an RFC 3339 instant."""
    contents = [of_file(file.path) for file in files]
    entries = [
        _Entry(file.name, file.size, file.crc, content.length, _DEFLATED)
        for file, content in zip(files, contents, strict=True)
    ]
    return _between(entries, contents, made_at)


def stored_zip(files: Sequence[tuple[str, AnyPath]], made_at: str) -> list[Piece]:
    """The archive of ``files``, each a name and where its content is; ``made_at`` is an RFC 3339 instant."""
    states = [path.stat() for _, path in files]
    contents = [of_file(path, size=state.st_size) for (_, path), state in zip(files, states, strict=True)]
    entries = [
        _stored(name, state.st_size, _crc32(path, state.st_size, state.st_mtime_ns))
        for (name, path), state in zip(files, states, strict=True)
    ]
    return _between(entries, contents, made_at)


@dataclass(frozen=True)
class _Entry:
    name: str
    size: int
    crc: int
    packed: int
    method: int


def _stored(name: str, size: int, crc: int) -> _Entry:
    return _Entry(name, size, crc, size, _STORED)


def _between(entries: Sequence[_Entry], contents: Sequence[Piece], made_at: str) -> list[Piece]:
    *headers, end = _laid_out(entries, _dos_time(made_at))
    pieces: list[Piece] = []
    for header, content in zip(headers, contents, strict=True):
        pieces += [held(header), content]
    return [*pieces, held(end)]


def archive_length(files: Sequence[tuple[str, int]]) -> int:
    """How many bytes the archive of files has, each a name and its bytes."""
    parts = _laid_out([_stored(name, size, 0) for name, size in files], (0, 0))
    return sum(map(len, parts)) + sum(size for _, size in files)


def _laid_out(entries: Sequence[_Entry], stamp: tuple[int, int]) -> list[bytes]:
    """What stands before each content, and what stands after the last."""
    headers: list[bytes] = []
    directory: list[bytes] = []
    position = 0
    for entry in entries:
        headers.append(_local_header(entry, stamp))
        directory.append(_directory_entry(entry, stamp, position))
        position += len(headers[-1]) + entry.packed
    together = b"".join(directory)
    return [*headers, together + _end(len(directory), len(together), position)]


@lru_cache(_HELD)
def _crc32(path: AnyPath, size: int, _changed_ns: int) -> int:
    crc = 0
    with reading(path) as file:
        while block := file.read(BLOCK_BYTES):
            crc = zlib.crc32(block, crc)
    return crc


def _dos_time(made_at: str) -> tuple[int, int]:
    at = datetime.fromisoformat(made_at)
    return (
        at.hour << 11 | at.minute << 5 | at.second // 2,
        (at.year - 1980) << 9 | at.month << 5 | at.day,
    )


def _shown(number: int) -> int:
    return number if number < _LIMIT else _ABSENT


def _local_header(entry: _Entry, stamp: tuple[int, int]) -> bytes:
    name, sizes = entry.name.encode(), (entry.size, entry.packed)
    large = max(sizes) >= _LIMIT
    extra = struct.pack("<HHQQ", 1, 16, *sizes) if large else b""
    size, packed = (_ABSENT, _ABSENT) if large else sizes
    return (
        struct.pack(
            "<4s5HIIIHH", b"PK\3\4", _ZIP64 if large else _PLAIN, _UTF8, entry.method, *stamp,
            entry.crc, packed, size, len(name), len(extra),
        )
        + name
        + extra
    )  # fmt: skip


def _directory_entry(entry: _Entry, stamp: tuple[int, int], position: int) -> bytes:
    name = entry.name.encode()
    wide = [value for value in (entry.size, entry.packed, position) if value >= _LIMIT]
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    needs = _ZIP64 if wide else _PLAIN
    return (
        struct.pack(
            "<4s6HIIIHHHHHII", b"PK\1\2", _UNIX | needs, needs, _UTF8, entry.method, *stamp, entry.crc,
            _shown(entry.packed), _shown(entry.size), len(name), len(extra), 0, 0, 0, _REGULAR_FILE,
            _shown(position),
        )
        + name
        + extra
    )  # fmt: skip


def _end(count: int, size: int, position: int) -> bytes:
    most = 0xFFFF
    wide = b""
    if count >= most or size >= _LIMIT or position >= _LIMIT:
        wide = struct.pack(
            "<4sQHHIIQQQQ", b"PK\6\6", 44, _UNIX | _ZIP64, _ZIP64, 0, 0, count, count, size, position
        ) + struct.pack("<4sIQI", b"PK\6\7", 0, position + size, 1)
    shown = min(count, most)
    return wide + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, shown, shown, _shown(size), _shown(position), 0)
