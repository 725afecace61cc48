"""Whether a downloaded file is what its manifest says, by hashes of the parts it was put together from."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from export_pipeline.exports.archives import KIND, archive_problems, is_archive
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.exports.manifest import FileEntry, InvalidManifest, Manifest, from_json
from export_pipeline.exports.onefile import is_zip
from export_pipeline.exports.readback import told
from export_pipeline.exports.verification import VerifyReport, counting

_BLOCK_BYTES = 1 << 20


def verify_file(
    path: Path, manifest: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Check an export as one file; one person's needs no manifest but the one inside it.

    Args:
        manifest: where its manifest is; default: beside it.
        progress: told the bytes of the file that were read, and those there are.
    """
    read = None if progress is None else counting(progress, path.stat().st_size)
    if manifest is None and is_archive(path):
        return VerifyReport(tuple(archive_problems(path, read)), 1)
    manifest = manifest or path.with_name(MANIFEST)
    try:
        expected = from_json(json.loads(manifest.read_bytes()))
    except FileNotFoundError:
        return VerifyReport((f"{manifest} does not exist; {path.name} is checked against its manifest",), 0)
    except (OSError, ValueError) as error:
        return VerifyReport((f"{manifest} cannot be read as JSON: {error}",), 0)
    except InvalidManifest as error:
        return VerifyReport((f"{manifest} is not as it must be: {error}",), 0)
    return VerifyReport(tuple(one_file_problems(path, expected, read)), 1)


def one_file_problems(path: Path, manifest: Manifest, read: Callable[[int], None] | None = None) -> list[str]:
    """How an export as one file differs from its manifest; sentences, none if it is intact.

    Args:
        read: told how many more of its bytes were read.
    """
    if manifest.kind == KIND:
        return archive_problems(path, read)
    if is_zip(manifest):
        return _zip_problems(path, manifest, read)
    size = path.stat().st_size
    header = _header_bytes(size, manifest)
    expected = manifest.total_bytes - header * (len(manifest.files) - 1)
    if size != expected:
        return [f"{path.name} has {size} bytes; the manifest says {expected}"]
    with open(path, "rb") as file:
        repeated = file.read(header)
        file.seek(0)
        return [
            f"{path.name} is damaged where {entry.name} is in it"
            for number, entry in enumerate(manifest.files)
            if not _is(entry, file, repeated if number else b"", read)
        ]


def _header_bytes(size: int, manifest: Manifest) -> int:
    """The bytes of the header that each CSV part begins with and the one file has once."""
    again = len(manifest.files) - 1
    return max(0, manifest.total_bytes - size) // again if manifest.format == "csv" and again else 0


def _is(entry: FileEntry, file: IO[bytes], header: bytes, read: Callable[[int], None] | None) -> bool:
    return _sha256(file, entry.bytes - len(header), read, header) == entry.sha256


def _zip_problems(path: Path, manifest: Manifest, read: Callable[[int], None] | None) -> list[str]:
    hashes = {entry.name: entry.sha256 for entry in manifest.files}
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            lacking = sorted({MANIFEST, *hashes}.difference(names))
            return [f"{path.name} lacks {name}" for name in lacking] + [
                f"{path.name} is damaged where {name} is in it"
                for name in names
                if not _is_whole(archive, name, hashes.get(name), read)
            ]
    except zipfile.BadZipFile as error:
        return [f"{path.name} is no intact zip archive: {error}"]


def _is_whole(
    archive: zipfile.ZipFile, name: str, sha256: str | None, read: Callable[[int], None] | None
) -> bool:
    """Whether an entry, read once, has its checksum, and the SHA-256 that the manifest says if it does."""
    try:
        with archive.open(name) as file:
            found = _sha256(file, archive.getinfo(name).file_size, read)
    except zipfile.BadZipFile:
        return False
    return sha256 in (None, found)


def _sha256(file: IO[bytes], length: int, read: Callable[[int], None] | None, before: bytes = b"") -> str:
    digest = hashlib.sha256(before)
    for block in _blocks(file, length) if read is None else told(_blocks(file, length), read):
        digest.update(block)
    return digest.hexdigest()


def _blocks(file: IO[bytes], length: int) -> Iterator[bytes]:
    while length > 0 and (block := file.read(min(length, _BLOCK_BYTES))):
        length -= len(block)
        yield block
