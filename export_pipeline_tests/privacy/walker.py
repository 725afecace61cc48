"""A walk over every byte below a folder, looking for ids; shares no code with the scan that it checks.

Plain on purpose: everything is decoded into memory by the standard library, pyarrow or pyiceberg, and
searched for the spellings of each id.
"""

import bz2
import gzip
import html
import io
import json
import lzma
import re
import sqlite3
import subprocess
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.avro.file import AvroFile
from pyiceberg.io.pyarrow import PyArrowFileIO

SQLITE_MAGIC = b"SQLite format 3\0"


def spellings(id_: str) -> set[str]:
    """The ways in which an id is written."""
    ascii_json, utf8_json = json.dumps(id_)[1:-1], json.dumps(id_, ensure_ascii=False)[1:-1]
    found = {id_, ascii_json, utf8_json, ascii_json.replace("/", "\\/"), utf8_json.replace("/", "\\/")}
    found |= {urllib.parse.quote(id_), urllib.parse.quote(id_, safe=""), urllib.parse.quote_plus(id_)}
    found |= {html.escape(id_), id_.replace('"', '""'), utf8_json.replace('"', '""')}
    found |= {json.dumps(each)[1:-1] for each in found}
    found |= {re.sub("%..|\\\\u....", lambda escape: escape[0].lower(), each) for each in found}
    return found


class Wanted:
    """Ids in every spelling, as tokens."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = [id_.encode() for id_ in ids]
        self.written = sorted({each.encode() for id_ in self.ids for each in spellings(id_.decode())})
        before = rb"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrtbf])|(?<=%[0-9A-Fa-f]{2})|(?<=\\u00[0-9a-fA-F]{2}))"
        either = b"|".join(map(re.escape, sorted(self.written, key=len, reverse=True)))
        self.token = re.compile(before + b"(?:" + either + b")(?![A-Za-z0-9_-])")

    def found_in(self, text: bytes) -> bool:
        """Whether an id is in ``text``."""
        return any(each in text for each in self.written) and self.token.search(text) is not None


def find(root: Path, ids: Iterable[str]) -> list[str]:
    """Where below ``root`` an id is found: paths, with what was looked into; empty if nowhere."""
    wanted = Wanted(ids)
    found = set()
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if wanted.found_in(name.encode()):
            found.add(f"{name} (its name)")
        content = content_of(path) if path.is_file() else None
        if content is not None:
            found |= {f"{name} ({where})" for where, text in texts(content, path) if wanted.found_in(text)}
            if content.startswith(SQLITE_MAGIC) and any(each in content for each in wanted.ids):
                found.add(f"{name} (bytes of its pages)")
    return sorted(found)


def content_of(path: Path) -> bytes | None:
    """The bytes of a file, None if it went meanwhile.

    Another process reads databases, as closing one here would end all locks on it.
    """
    if ".db" in path.name:
        read = subprocess.run(["cat", path], check=False, capture_output=True)
        if read.returncode and path.exists():
            raise OSError(read.stderr.decode())
        return None if read.returncode else read.stdout
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def texts(content: bytes, path: Path | None = None) -> Iterator[tuple[str, bytes]]:
    """Every text in ``content``, itself first, with where in it it was."""
    yield "bytes", content
    match content:
        case _ if content[:2] == b"\x1f\x8b":
            yield from inside("gzip", gzip.decompress(content))
        case _ if content[:3] == b"BZh":
            yield from inside("bzip2", bz2.decompress(content))
        case _ if content[:6] == b"\xfd7zXZ\0":
            yield from inside("xz", lzma.decompress(content))
        case _ if content[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for name in archive.namelist():
                    yield "zip name", name.encode()
                    yield from inside(f"zip {name}", archive.read(name))
        case _ if content[:4] == b"PAR1":
            yield from of_parquet(content)
        case _ if content[:4] == b"Obj\x01" and path is not None:
            yield from of_avro(path)
        case _ if content.startswith(SQLITE_MAGIC) and path is not None:
            yield from of_database(path)


def inside(what: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """The texts of what was packed."""
    for where, text in texts(content):
        yield f"{what}: {where}", text


def of_parquet(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Key-value metadata, statistics and all values."""
    with pq.ParquetFile(io.BytesIO(content)) as file:
        for pair in (file.metadata.metadata or {}).items():
            yield from (("metadata", each) for each in pair)
        for column in file.schema_arrow.names:
            read = file.read([column]).column(0)
            values = (read if pa.types.is_nested(read.type) else read.unique()).to_pylist()
            yield f"column {column}", b"\n".join(text for value in values for _, text in leaves("", value))


def leaves(where: str, value: Any) -> Iterator[tuple[str, bytes]]:
    """The texts in a value; a text that is JSON is looked into as well."""
    match value:
        case bytes():
            yield where, value
        case str():
            yield where, value.encode("utf-8", "surrogatepass")
            if value[:1] in ("{", "["):
                try:
                    yield from leaves(where, json.loads(value))
                except ValueError:
                    return
        case dict():
            for key, inner in value.items():
                yield from leaves(where, key)
                yield from leaves(where, inner)
        case list() | tuple():
            for inner in value:
                yield from leaves(where, inner)


def of_avro(path: Path) -> Iterator[tuple[str, bytes]]:
    """All values of an Iceberg manifest or list of manifests."""
    with AvroFile[Any](PyArrowFileIO().new_input(str(path))) as file:
        for record in file:
            yield from of_record(record)


def of_record(value: Any) -> Iterator[tuple[str, bytes]]:
    """The texts in a record."""
    if hasattr(value, "_data"):
        for inner in value._data:
            yield from of_record(inner)
    else:
        yield from leaves("record", value)


def of_database(path: Path) -> Iterator[tuple[str, bytes]]:
    """All values of all tables, as others see them now."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.text_factory = bytes
    try:
        for (table,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall():
            for row in connection.execute(f'select * from "{table.decode()}"'):
                for value in row:
                    if isinstance(value, bytes):
                        yield f"table {table.decode()}", value
                        if value[:1] == b"\x78":
                            try:
                                yield f"table {table.decode()}, unpacked", zlib.decompress(value)
                            except zlib.error:
                                continue
    finally:
        connection.close()
