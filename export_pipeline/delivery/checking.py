"""Whether a downloaded file is what its manifest says, by hashes of the parts it was put together from."""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from export_pipeline.exports.archives import KIND, archive_problems, is_archive
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.exports.manifest import FileEntry, InvalidManifest, Manifest, from_json
from export_pipeline.exports.onefile import is_zip
from export_pipeline.exports.verification import VerifyReport

_BLOCK_BYTES = 1 << 20


def verify_file(path: Path, manifest: Path | None = None) -> VerifyReport:
    """Check an export as one file; one person's needs no manifest but the one inside it.

    Args:
        manifest: where its manifest is; default: beside it.
    """
    if manifest is None and is_archive(path):
        return VerifyReport(tuple(archive_problems(path)), 1)
    manifest = manifest or path.with_name(MANIFEST)
    try:
        expected = from_json(json.loads(manifest.read_bytes()))
    except FileNotFoundError:
        return VerifyReport((f"{manifest} does not exist; {path.name} is checked against its manifest",), 0)
    except (OSError, ValueError) as error:
        return VerifyReport((f"{manifest} cannot be read as JSON: {error}",), 0)
    except InvalidManifest as error:
        return VerifyReport((f"{manifest} is not as it must be: {error}",), 0)
    return VerifyReport(tuple(one_file_problems(path, expected)), 1)


def one_file_problems(path: Path, manifest: Manifest) -> list[str]:
    """How an export as one file differs from its manifest; sentences, none if it is intact."""
    if manifest.kind == KIND:
        return archive_problems(path)
    if is_zip(manifest):
        return _zip_problems(path, manifest)
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
            if not _is(entry, file, repeated if number else b"")
        ]


def _header_bytes(size: int, manifest: Manifest) -> int:
    """The bytes of the header that each CSV part begins with and the one file has once."""
    again = len(manifest.files) - 1
    return max(0, manifest.total_bytes - size) // again if manifest.format == "csv" and again else 0


def _is(entry: FileEntry, file: IO[bytes], header: bytes) -> bool:
    digest = hashlib.sha256(header)
    for block in _blocks(file, entry.bytes - len(header)):
        digest.update(block)
    return digest.hexdigest() == entry.sha256


def _zip_problems(path: Path, manifest: Manifest) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:
                return [f"{path.name} is damaged where {damaged} is in it"]
            names = set(archive.namelist())
            wanted = {MANIFEST, *(entry.name for entry in manifest.files)}
            problems = [f"{path.name} lacks {name}" for name in sorted(wanted - names)]
            for entry in manifest.files:
                if entry.name in names:
                    with archive.open(entry.name) as file:
                        digest = hashlib.sha256()
                        for block in _blocks(file, entry.bytes + 1):
                            digest.update(block)
                    if digest.hexdigest() != entry.sha256:
                        problems.append(f"{path.name} is damaged where {entry.name} is in it")
            return problems
    except zipfile.BadZipFile as error:
        return [f"{path.name} is no intact zip archive: {error}"]


def _blocks(file: IO[bytes], length: int) -> Iterator[bytes]:
    while length > 0 and (block := file.read(min(length, _BLOCK_BYTES))):
        length -= len(block)
        yield block
