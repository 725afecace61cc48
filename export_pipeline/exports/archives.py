"""The archive of one person's data: files, manifest, and what is wrong with one (contract, section 6).

Its manifest is that of an export of kind ``user``; on top stand the rows withheld, by data type, and the
files that hold no rows. It is read back by the standard library and the second reader of rows, neither of
which wrote it.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.exports.manifest import FileEntry, InvalidManifest, Manifest
from export_pipeline.exports.manifest import from_json as export_from_json
from export_pipeline.exports.readback import read_rows, told, unlike
from export_pipeline.files import to_json
from export_pipeline.objects import AnyPath, reading

FOLDER = "user"
"""Where archives lie below the exports' root."""
KIND = "user"
INDEX, PROFILE, DEVICES, EXPERIMENTS = "index.html", "profile.json", "devices.json", "experiments.json"
DOCUMENTS = (INDEX, PROFILE, DEVICES, EXPERIMENTS)
"""The files without rows, the manifest aside."""

_BLOCK_BYTES = 1 << 20
_MOST_MANIFEST_BYTES = 1 << 26


def rows_name(data_type: str) -> str:
    """The file of a data type's rows."""
    return f"{DATA_TYPES[data_type].table}.jsonl"


@dataclass(frozen=True)
class Document:
    """A file of an archive that holds no rows."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ArchiveManifest:
    """What an archive holds and how to check it."""

    export: Manifest
    withheld: Mapping[str, int]
    documents: tuple[Document, ...]

    def to_json(self) -> dict[str, Any]:
        """The manifest as a JSON object."""
        return {
            **self.export.to_json(),
            "withheld": dict(self.withheld),
            "documents": [
                {"name": each.name, "bytes": each.bytes, "sha256": each.sha256} for each in self.documents
            ],
        }


def from_json(document: object) -> ArchiveManifest:
    """The manifest that ``document`` is.

    Raises:
        InvalidManifest: saying what is wrong.
    """
    if not isinstance(document, dict):
        raise InvalidManifest("it is no object")
    own = {name: value for name, value in document.items() if name not in ("withheld", "documents")}
    export = export_from_json(own)
    try:
        documents = tuple(Document(**each) for each in document["documents"])
        manifest = ArchiveManifest(export, dict(document["withheld"]), documents)
        as_written = to_json(manifest.to_json()) == to_json(document)
    except (KeyError, TypeError, ValueError):
        as_written = False
    if not as_written:
        raise InvalidManifest("withheld and documents must be as this program writes them")
    if export.kind != KIND or [each.name for each in documents] != list(DOCUMENTS):
        raise InvalidManifest(f"it must be of kind {KIND} and list the documents {', '.join(DOCUMENTS)}")
    return manifest


def read_manifest(path: AnyPath) -> ArchiveManifest:
    """The manifest inside the archive at ``path``.

    Raises:
        InvalidManifest: if there is none, or it is not as it must be.
        OSError: if the file cannot be read.
    """
    return from_json(json.loads(manifest_bytes(path)))


def manifest_bytes(path: AnyPath) -> bytes:
    """The bytes of the manifest inside the archive at ``path``; raises as ``read_manifest``."""
    try:
        with reading(path) as packed, zipfile.ZipFile(packed) as archive, archive.open(MANIFEST) as file:
            return file.read(_MOST_MANIFEST_BYTES)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, EOFError):
        raise InvalidManifest("it is not inside an intact archive") from None


def is_archive(path: AnyPath) -> bool:
    """Whether the file at ``path`` is the archive of a person's data, whole or damaged."""
    try:
        return bool(json.loads(manifest_bytes(path))["kind"] == KIND)
    except (OSError, ValueError, KeyError, TypeError, InvalidManifest):
        return False


def archive_problems(path: AnyPath, read: Callable[[int], None] | None = None) -> list[str]:
    """What is wrong with an archive; sentences that begin with a name inside it. Memory is bounded.

    Args:
        read: told how many more bytes of the archive were read.
    """
    try:
        manifest = read_manifest(path)
        with reading(path) as packed, zipfile.ZipFile(packed) as archive:
            return [*_manifest_problems(archive, manifest), *_content_problems(archive, manifest, read)]
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        return [f"{path.name} cannot be read: {type(error).__name__}"]
    except InvalidManifest as error:
        return [f"{MANIFEST} is not as it must be: {error}"]


def _manifest_problems(archive: zipfile.ZipFile, manifest: ArchiveManifest) -> Iterator[str]:
    export = manifest.export
    if archive.read(MANIFEST) != to_json(manifest.to_json()):
        yield f"{MANIFEST} is not written as this program writes it; it was edited"
    names = [INDEX, PROFILE, *map(rows_name, DATA_TYPES), DEVICES, EXPERIMENTS, MANIFEST]
    if archive.namelist() != names:
        yield f"the archive holds {', '.join(archive.namelist())}; it must be {', '.join(names)}"
    if [file.name for file in export.files] != [rows_name(name) for name in DATA_TYPES]:
        yield f"{MANIFEST} does not list one file of rows for each data type"
    if sum(day.rows for day in export.days) != export.row_count:
        yield f"{MANIFEST} has other numbers of rows by day than by file"


def _content_problems(
    archive: zipfile.ZipFile, manifest: ArchiveManifest, read: Callable[[int], None] | None
) -> Iterator[str]:
    for document in manifest.documents:
        with archive.open(document.name) as file:
            if (found := _sum(_blocks(file))) != (document.bytes, document.sha256):
                yield f"{document.name} has {found[0]} bytes, or other ones than {MANIFEST} says"
    for entry in manifest.export.files:
        problems = _row_problems(archive, entry, manifest.export, read)
        yield from (f"{entry.name} {problem}" for problem in problems)


def _row_problems(
    archive: zipfile.ZipFile, entry: FileEntry, export: Manifest, read: Callable[[int], None] | None
) -> list[str]:
    with archive.open(entry.name) as file:
        size, sha256 = _sum(_blocks(file))
        file.seek(0)
        blocks = _blocks(file)
        if read is not None:
            blocks = told(blocks, _as_packed(archive.getinfo(entry.name), read))
        found = read_rows(blocks, entry.data_type, export.format)
    problems = unlike(entry, size, sha256, found)
    said = {day.date: day.rows for day in export.days if day.data_type == entry.data_type and day.rows}
    if not problems and found.days != said:
        problems.append(f"has other numbers of rows by day than {MANIFEST} says")
    return problems


def _as_packed(entry: zipfile.ZipInfo, read: Callable[[int], None]) -> Callable[[int], None]:
    """What to tell the unpacked bytes of an entry, so that ``read`` is told those it takes in the archive."""
    unpacked = packed = 0

    def count(more: int) -> None:
        nonlocal unpacked, packed
        unpacked, before = unpacked + more, packed
        packed = entry.compress_size * unpacked // entry.file_size
        read(packed - before)

    return count


def _sum(blocks: Iterable[bytes]) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    for block in blocks:
        size += len(block)
        digest.update(block)
    return size, digest.hexdigest()


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK_BYTES):
        yield block
