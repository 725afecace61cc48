"""An export as one file, as ``downloadUrl`` gives it, its parts, and the manifest (contract, section 4).

JSON Lines: all parts one after the other. CSV of one data type: the same with the header once. CSV of
several: a stored zip of the export's directory, which ``verify`` accepts once it is unpacked. One person's:
the archive that it is.
"""

import hashlib
import zlib
from collections.abc import Mapping

from upath import UPath

from export_pipeline.delivery.published import Published
from export_pipeline.errors import DamagedData, NotFound
from export_pipeline.exports.archives import KIND, manifest_bytes
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.exports.manifest import Manifest
from export_pipeline.exports.onefile import is_zip, sizes_below, zip_names
from export_pipeline.objects import AnyPath, is_remote, reading
from export_pipeline.pieces import Assembled, inside, of_file
from export_pipeline.zipping import stored_zip

_MEDIA_TYPES = {
    "gz": "application/gzip",
    "zip": "application/zip",
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
}
_MOST_HEADER_BYTES = 1 << 16


def media_type(name: str) -> str:
    """The Content-Type of a file by the end of its name."""
    return _MEDIA_TYPES[name.rpartition(".")[2]]


def one_file_name(manifest: Manifest) -> str:
    """The name of an export as one file."""
    if is_zip(manifest) or manifest.kind == KIND:
        return f"{manifest.export_id}.zip"
    return f"{manifest.export_id}.{manifest.format}{'.gz' if manifest.compression == 'gzip' else ''}"


def assembled(export: Published, name: str) -> Assembled:
    """What is sent under ``name``: the export as one file, one of its parts, or the manifest.

    Raises:
        NotFound: if the export has nothing of that name.
        DamagedData: if a part file is not as it was published.
    """
    manifest = export.manifest
    hashes = {file.name: file.sha256 for file in manifest.files}
    try:
        if manifest.kind == KIND:
            return _of_archive(export, name, hashes)
        if name == one_file_name(manifest):
            return _zip(export, name) if is_zip(manifest) else _joined(export, name)
        if name in hashes:
            path = export.folder / name
            return Assembled(_flat(export, name), media_type(name), hashes[name], [of_file(path)])
        if name == MANIFEST:
            path = export.folder / name
            tag = hashlib.sha256(path.read_bytes()).hexdigest()
            return Assembled(_flat(export, name), media_type(name), tag, [of_file(path)])
    except (FileNotFoundError, KeyError):
        raise _missing(manifest) from None
    raise _unknown(manifest)


def one_object(export: Published, name: str) -> UPath | None:
    """The object that is what is sent under ``name``, byte for byte; None if it is put together of several,
    lies inside another, or is a file of this machine."""
    manifest = export.manifest
    whole = one_file_name(manifest)
    if not is_remote(export.folder):
        return None
    if manifest.kind == KIND:
        return export.folder / whole if name == whole else None
    if name == whole and len(manifest.files) == 1 and not is_zip(manifest):
        name = manifest.files[0].name
    return export.folder / name if name in (MANIFEST, *export.part_names) else None


def stored_bytes(export: Published, stored: UPath) -> int:
    """The bytes of an object of an export.

    Raises:
        DamagedData: if it is not there.
    """
    try:
        return stored.stat().st_size
    except FileNotFoundError:
        raise _missing(export.manifest) from None


def saved_as(export: Published, name: str) -> str:
    """The name under which a reader keeps what is sent under ``name``."""
    return name if name == one_file_name(export.manifest) else _flat(export, name)


def _missing(manifest: Manifest) -> DamagedData:
    return DamagedData(f"a file of {manifest.export_id} is missing; export again")


def _unknown(manifest: Manifest) -> NotFound:
    return NotFound(f"export {manifest.export_id} has no file of that name", field="name")


def _of_archive(export: Published, name: str, hashes: Mapping[str, str]) -> Assembled:
    path = export.folder / one_file_name(export.manifest)
    listing = hashlib.sha256(manifest_bytes(path)).hexdigest()
    if name == path.name:
        return Assembled(name, media_type(name), f"{listing}-zip", [of_file(path)])
    if name == MANIFEST:
        return Assembled(_flat(export, name), media_type(name), listing, [inside(path, name)])
    if name in hashes:
        return Assembled(_flat(export, name), media_type(name), hashes[name], [inside(path, name)])
    raise _unknown(export.manifest)


def _flat(export: Published, name: str) -> str:
    return f"{export.manifest.export_id}-{name.replace('/', '-')}"


def _joined(export: Published, name: str) -> Assembled:
    manifest = export.manifest
    pieces, sizes = [], sizes_below(export.folder)
    for number, file in enumerate(manifest.files):
        path = export.folder / file.name
        skipped = header_length(path, manifest.compression) if manifest.format == "csv" and number else 0
        pieces.append(of_file(path, skipped, size=sizes[file.name]))
    return Assembled(name, media_type(name), _tag(manifest), pieces)


def _zip(export: Published, name: str) -> Assembled:
    tag = _tag(export.manifest)
    files = [(entry, export.folder / entry) for entry in zip_names(export.manifest)]
    pieces = stored_zip(files, export.manifest.created_at)
    manifest_hash = hashlib.sha256((export.folder / MANIFEST).read_bytes()).hexdigest()
    together = hashlib.sha256(f"{tag}{manifest_hash}".encode()).hexdigest()
    return Assembled(name, media_type(name), f"{together}-zip", pieces)


def _tag(manifest: Manifest) -> str:
    """The file's SHA-256 if it is one part; otherwise a hash of the parts' hashes, marked as such."""
    if len(manifest.files) == 1:
        return manifest.files[0].sha256
    together = hashlib.sha256("".join(file.sha256 for file in manifest.files).encode()).hexdigest()
    return f"{together}-{len(manifest.files)}"


def header_length(path: AnyPath, compression: str) -> int:
    """How many bytes at the start of a CSV part are its header: a line, or a gzip member of its own."""
    with reading(path) as file:
        start = file.read(_MOST_HEADER_BYTES)
    if compression == "none":
        return start.index(b"\n") + 1
    member = zlib.decompressobj(31)
    member.decompress(start)
    if not member.eof:
        raise DamagedData(f"{path.name} does not begin with a header of its own; export again")
    return len(start) - len(member.unused_data)
