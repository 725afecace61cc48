"""Reading every kind of file there is down to the texts in it, to be searched.

What a file is is told by how it begins. One that is damaged, encrypted, or of a kind that nobody here can
read is an error, never passed over.
"""

import bz2
import csv
import io
import json
import lzma
import pickletools
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from isal import isal_zlib

from export_pipeline.events.catalogue import numeric_columns
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.privacy import avro
from export_pipeline.privacy.searching import (
    INSTANTS,
    SEQUENCE,
    WINDOW_BYTES,
    Found,
    Search,
    Unsearchable,
    holds_text,
)

NESTED = 4
"""How deep containers may lie in one another."""

IN_MEMORY = 1 << 28
"""Bytes up to which what must be read from several places is held in memory, if it lies in a container."""

_ROWS = 32_768
_HEADER_BYTES = 1 << 16
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_NARROW_BYTES = 12
_GzipError = cast("type[Exception]", isal_zlib.error)  # its stub says that it is an instance
_GZIP = b"\x1f\x8b"


def read(file: IO[bytes], name: str, search: Search, *, cut_off: bool = False, depth: int = 0) -> None:
    """Search ``file``, all its bytes and all that can be decoded of them.

    Args:
        file: stands at its begin and can be positioned anew.
        name: how its end tells JSON lines.
        cut_off: whether compressed data may end early, as in a file that was not copied to its end.

    Raises:
        Unsearchable: saying why.
    """
    if depth > NESTED:
        raise Unsearchable("its containers lie too deep in one another")
    head = file.read(12)
    file.seek(0)
    reader = next((reader for magic, reader in _READERS if head.startswith(magic)), None)
    if head[8:12] == b"DUCK":
        raise Unsearchable("it is a DuckDB database, whose pages nobody here can read")
    if reader is None:
        _text(file, name, search)
        return
    before = search.found
    try:
        reader(file, name, search, depth)
    except EOFError:
        if not cut_off:
            raise Unsearchable("it ends early") from None
    except (
        OSError,
        ValueError,
        zlib.error,
        _GzipError,
        lzma.LZMAError,
        zipfile.BadZipFile,
    ) as error:
        if isinstance(error, FileNotFoundError):
            raise
        # The text of an error may quote what is in the file.
        raise Unsearchable(f"it cannot be decoded ({type(error).__name__})") from None
    if search.found.hits == before.hits:
        # Nothing in what it says; then neither in what it does not say, such as statistics or gaps.
        file.seek(0)
        search.text(file.read)


def _text(file: IO[bytes], name: str, search: Search) -> None:
    if name.endswith(".jsonl"):
        search.lines(file.read)
        return
    before = search.found
    search.text(file.read)
    if name.endswith(".csv") and (search.found.hits > before.hits or search.erased.needles.has_short):
        _cells(file, search, before)


def _cells(file: IO[bytes], search: Search, before: Found) -> None:
    """Search a CSV file once more, by cell: short ids are whole cells, and rows tell when they happened."""
    as_text, search.found = search.found, before
    file.seek(0)
    header = next(csv.reader([file.read(_HEADER_BYTES).split(b"\n", 1)[0].decode("utf-8", "replace")]), [])
    file.seek(0)
    columns = {name: pa.timestamp("us", "UTC") if name in INSTANTS else pa.string() for name in header}
    numbers = numeric_columns()
    try:
        with pa_csv.open_csv(
            pa.PythonFile(file, "r"),
            pa_csv.ReadOptions(block_size=WINDOW_BYTES),
            pa_csv.ParseOptions(newlines_in_values=True),
            pa_csv.ConvertOptions(
                column_types=columns, include_columns=[c for c in header if c not in numbers]
            ),
        ) as reader:
            for batch in reader:
                search.rows(batch)
    except pa.ArrowInvalid:
        search.found = before
    if search.found.hits == before.hits:
        search.found = as_text


class _Decoded(io.RawIOBase):
    """A stream of what is decoded from another; it can be read from its begin only, once or again."""

    def __init__(self, chunks: Callable[[], Iterator[bytes]]) -> None:
        self._make, self._chunks, self._rest = chunks, chunks(), b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, length = [self._rest], len(self._rest)
        while size < 0 or length < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            parts.append(chunk)
            length += len(chunk)
        content = b"".join(parts)
        cut = len(content) if size < 0 else size
        self._rest = content[cut:]
        return content[:cut]

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset or whence:
            raise io.UnsupportedOperation("only to the begin")
        self._chunks, self._rest = self._make(), b""
        return 0


def _inner(chunks: Callable[[], Iterator[bytes]], name: str, search: Search, depth: int) -> None:
    decoded: Any = _Decoded(chunks)
    if decoded.read(4) in (b"PAR1", b"PK\x03\x04"):
        decoded.seek(0)
        content = decoded.read(IN_MEMORY + 1)
        if len(content) > IN_MEMORY:
            raise Unsearchable(f"what is compressed in it has more than {IN_MEMORY} bytes")
        decoded = io.BytesIO(content)
    decoded.seek(0)
    read(decoded, name, search, depth=depth + 1)


def _gzip(file: IO[bytes], name: str, search: Search, depth: int) -> None:
    _inner(lambda: _gunzipped(file), name.removesuffix(".gz"), search, depth)


def _gunzipped(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    rest = file.read(WINDOW_BYTES)
    while rest:
        member = isal_zlib.decompressobj(31)
        while not member.eof:
            if not rest and not (rest := file.read(WINDOW_BYTES)):
                raise EOFError
            yield member.decompress(rest, WINDOW_BYTES)
            rest = member.unconsumed_tail or member.unused_data
        rest = rest or file.read(WINDOW_BYTES)
        if not rest.strip(b"\0"):
            return  # padding, as tapes have it


def _other(opened: Callable[[IO[bytes]], IO[bytes]]) -> Callable[[IO[bytes], str, Search, int], None]:
    def chunks(file: IO[bytes]) -> Iterator[bytes]:
        file.seek(0)
        with opened(file) as decoded:
            while chunk := decoded.read(WINDOW_BYTES):
                yield chunk

    return lambda file, name, search, depth: _inner(
        lambda: chunks(file), name.rpartition(".")[0], search, depth
    )


def _zip(file: IO[bytes], _name: str, search: Search, depth: int) -> None:
    with zipfile.ZipFile(file) as archive:
        search.since |= _made_at(archive) > search.erased.at
        search.content(archive.comment)
        for member in archive.infolist():
            search.name(member.filename)
            search.content(member.comment)
            if member.flag_bits & 1:
                raise Unsearchable("it holds an encrypted file")

            def chunks(member: zipfile.ZipInfo = member) -> Iterator[bytes]:
                with archive.open(member) as decoded:
                    while chunk := decoded.read(WINDOW_BYTES):
                        yield chunk

            if not member.is_dir():
                _inner(chunks, member.filename, search, depth)


def _made_at(archive: zipfile.ZipFile) -> datetime:
    """When the export in an archive was made, long ago if it does not say so."""
    with suppress(KeyError, ValueError, TypeError, AttributeError):
        with archive.open(MANIFEST) as manifest:
            said = datetime.fromisoformat(json.loads(manifest.read(WINDOW_BYTES))["createdAt"])
        return said if said.tzinfo else _LONG_AGO
    return _LONG_AGO


def _parquet(file: IO[bytes], _name: str, search: Search, _depth: int) -> None:
    with pq.ParquetFile(file) as plain:
        metadata, schema = plain.metadata, plain.schema_arrow
    said = [text for pair in (metadata.metadata or {}).items() for text in pair]
    search.values(pa.array(said, pa.binary()))
    names = [field.name for field in schema if holds_text(field.type)]
    if not names or not metadata.num_rows:
        return
    wanted = [*names, *({SEQUENCE, *INSTANTS} & set(schema.names))]
    sizes: dict[str, int] = {}
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            sizes[chunk.path_in_schema] = sizes.get(chunk.path_in_schema, 0) + chunk.total_uncompressed_size
    narrow = [name for name in names if sizes.get(name, 1 << 62) < _NARROW_BYTES * metadata.num_rows]
    file.seek(0)
    with pq.ParquetFile(file, read_dictionary=narrow) as parquet:
        for batch in parquet.iter_batches(_ROWS, columns=wanted, use_threads=False):
            search.rows(batch)


def _avro(file: IO[bytes], _name: str, search: Search, _depth: int) -> None:
    search.values(pa.array(list(avro.texts(file)), pa.large_binary()))


def _pickle(file: IO[bytes], _name: str, search: Search, _depth: int) -> None:
    # Never loaded: only its texts are taken out.
    said = [
        argument.encode("utf-8", "surrogatepass") if isinstance(argument, str) else bytes(argument)
        for _, argument, _ in pickletools.genops(file)
        if isinstance(argument, (str, bytes, bytearray))
    ]
    search.values(pa.array(said, pa.large_binary()))


def packed(value: bytes) -> bytes | None:
    """What a value of a database says that is compressed, None if it is not."""
    if value[:1] == b"\x78" and value[1:2] in (b"\x01", b"\x5e", b"\x9c", b"\xda"):
        try:
            return isal_zlib.decompress(value)
        except _GzipError:
            return None
    return None


def _unreadable(what: str) -> Callable[[IO[bytes], str, Search, int], None]:
    def refuse(_file: IO[bytes], _name: str, _search: Search, _depth: int) -> None:
        raise Unsearchable(f"it is {what}, which nobody here can read")

    return refuse


_READERS: tuple[tuple[bytes, Callable[[IO[bytes], str, Search, int], None]], ...] = (
    (_GZIP, _gzip),
    (b"PK\x03\x04", _zip),
    (b"PK\x05\x06", _zip),
    (b"PAR1", _parquet),
    (avro.MAGIC, _avro),
    (b"\x80\x03", _pickle),
    (b"\x80\x04", _pickle),
    (b"\x80\x05", _pickle),
    (b"BZh", _other(bz2.BZ2File)),
    (b"\xfd7zXZ\0", _other(lzma.LZMAFile)),
    (b"\x28\xb5\x2f\xfd", _other(lambda file: pa.CompressedInputStream(file, "zstd"))),
    (b"\x04\x22\x4d\x18", _other(lambda file: pa.CompressedInputStream(file, "lz4"))),
    (b"SQLite format 3\0", _unreadable("a SQLite database where none is kept")),
    (b"7z\xbc\xaf\x27\x1c", _unreadable("a 7-Zip archive")),
    (b"Rar!\x1a\x07", _unreadable("a RAR archive")),
    (b"PK", _unreadable("a zip file in several parts")),
)
"""How files begin, and who reads them."""
