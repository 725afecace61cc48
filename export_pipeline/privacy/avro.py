"""The texts and bytes in an Avro container file, such as an Iceberg manifest: its values and its header."""

import io
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any

MAGIC = b"Obj\x01"
_SYNC_BYTES = 16


class Damaged(ValueError):
    """It is not a whole Avro file, or compressed in a way that is not known."""


def texts(file: IO[bytes]) -> Iterator[bytes]:
    """Every text and bytes value of ``file``, which stands at its begin.

    Raises:
        Damaged: if the file ends early or is none.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise Damaged("it does not begin as an Avro file does")
    header: dict[str, bytes] = {}
    while count := _long(file):
        if count < 0:
            count, _ = -count, _long(file)
        for _ in range(count):
            key = _bytes(file)
            header[key.decode()] = _bytes(file)
    yield from (key.encode() for key in header)
    yield from header.values()
    sync = _exactly(file, _SYNC_BYTES)
    schema, codec = json.loads(header["avro.schema"]), header.get("avro.codec", b"null")
    while first := file.read(1):
        rows = _long(file, first)
        block = _exactly(file, _long(file))
        if codec == b"deflate":
            block = zlib.decompress(block, -15)
        elif codec != b"null":
            raise Damaged(f"its codec is {codec.decode(errors='replace')}; it must be null or deflate")
        content, names = io.BytesIO(block), dict[str, Any]()
        for _ in range(rows):
            yield from _value(content, schema, names)
        if content.read(1) or _exactly(file, _SYNC_BYTES) != sync:
            raise Damaged("a block does not end where it should")


def _value(file: IO[bytes], schema: Any, names: dict[str, Any]) -> Iterator[bytes]:
    if isinstance(schema, list):
        yield from _value(file, schema[_long(file)], names)
        return
    kind = schema["type"] if isinstance(schema, Mapping) else schema
    if isinstance(kind, (Mapping, list)):
        yield from _value(file, kind, names)
        return
    if isinstance(schema, Mapping) and "name" in schema:
        names[schema["name"]] = schema
    match kind:
        case "null":
            return
        case "boolean":
            _exactly(file, 1)
        case "int" | "long" | "enum":
            _long(file)
        case "float":
            _exactly(file, 4)
        case "double":
            _exactly(file, 8)
        case "string" | "bytes":
            yield _bytes(file)
        case "fixed":
            yield _exactly(file, schema["size"])
        case "record":
            for member in schema["fields"]:
                yield from _value(file, member["type"], names)
        case "array" | "map":
            while count := _long(file):
                if count < 0:
                    count, _ = -count, _long(file)
                for _ in range(count):
                    if kind == "map":
                        yield _bytes(file)
                    yield from _value(file, schema["items" if kind == "array" else "values"], names)
        case _ if kind in names:
            yield from _value(file, names[kind], names)
        case _:
            raise Damaged("its schema has a type that is not known")


def _exactly(file: IO[bytes], size: int) -> bytes:
    content = file.read(size) if size >= 0 else b""
    if len(content) != size:
        raise Damaged("it ends early")
    return content


def _bytes(file: IO[bytes]) -> bytes:
    return _exactly(file, _long(file))


def _long(file: IO[bytes], first: bytes = b"") -> int:
    value = shift = 0
    while True:
        byte = (first or _exactly(file, 1))[0]
        first = b""
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1)
