"""Text of the sample, made a column at a time: identifiers, instants, numbers, whole JSON lines.

Knows how values are spelled in JSON, and nothing of what the values mean. Everything is integer
arithmetic and table look-ups, so that the same input gives the same bytes on every machine.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

DAY_MS = 86_400_000

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Text = Any
"""A ``pa.StringArray`` of JSON texts (or lines), or a ``str`` that is the same in every row."""


def mix(words: Words) -> Words:
    """The splitmix64 finaliser: a well-spread 64-bit hash of each word."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def hashed(seed: int, stream: int, keys: Ints) -> Words:
    """A 64-bit hash of each key, another one for each ``seed`` and ``stream``."""
    salt = np.array([seed % (1 << 64), stream], dtype=np.uint64)
    return mix(keys.astype(np.uint64) ^ mix(mix(salt[:1]) + salt[1:]))


def below(words: Words, limit: int) -> Ints:
    """Each word reduced to 0 … limit-1 (limit up to 2**32)."""
    return (((words >> np.uint64(32)) * np.uint64(limit)) >> np.uint64(32)).astype(np.int64)


@cache
def _hex_pairs() -> npt.NDArray[np.uint8]:
    digits = b"0123456789abcdef"
    pairs = bytes(digit for value in range(256) for digit in (digits[value >> 4], digits[value & 15]))
    return np.frombuffer(pairs, dtype=np.uint8).reshape(256, 2)


def _hex(words: Words) -> npt.NDArray[np.uint8]:
    """The lower-case hex digits of ``words`` (rows x k): a matrix of 16k characters a row."""
    rows, k = words.shape
    octets = words.astype(">u8").view(np.uint8).reshape(rows, 8 * k)
    return _hex_pairs()[octets].reshape(rows, 16 * k)


def _strings(characters: npt.NDArray[np.uint8]) -> Text:
    """A matrix of characters, one row a string, as an Arrow array without copying."""
    rows, width = characters.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    content = np.ascontiguousarray(characters)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(content))


def _framed(prefix: bytes, rows: int, width: int) -> npt.NDArray[np.uint8]:
    """A matrix of quoted strings of ``width`` characters that begin with ``prefix``."""
    out = np.empty((rows, width + 2), dtype=np.uint8)
    out[:, [0, -1]] = ord('"')
    out[:, 1 : 1 + len(prefix)] = np.frombuffer(prefix, dtype=np.uint8)
    return out


def hex_ids(prefix: str, words: Words, digits: int) -> Text:
    """``"<prefix><hex digits>"`` for each row of ``words`` (rows x k)."""
    out = _framed(prefix.encode(), len(words), len(prefix) + digits)
    out[:, 1 + len(prefix) : -1] = _hex(words)[:, :digits]
    return _strings(out)


def uuids(words: Words) -> Text:
    """``"<UUID of version 4>"`` for each row of ``words`` (rows x 2)."""
    digits = _hex(words)
    out = _framed(b"", len(words), 36)
    start = taken = 0
    for length in (8, 4, 4, 4, 12):
        out[:, 1 + start : 1 + start + length] = digits[:, taken : taken + length]
        taken += length
        start += length + 1
    out[:, [9, 14, 19, 24]] = ord("-")
    out[:, 15] = ord("4")
    out[:, 20] = np.frombuffer(b"89ab", dtype=np.uint8)[(words[:, 1] >> np.uint64(62)).astype(np.int64)]
    return _strings(out)


def numbered(prefix: str, numbers: Ints, digits: int) -> Text:
    """``"<prefix><number, zero-padded>"`` for each number."""
    out = _framed(prefix.encode(), len(numbers), len(prefix) + digits)
    for place in range(digits):
        out[:, -2 - place] = ord("0") + (numbers // 10**place) % 10
    return _strings(out)


@cache
def _clock() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The texts ``hh:mm:`` of every minute of a day and ``ss.mmm`` of every millisecond of a minute."""
    minutes = "".join(f"{m // 60:02d}:{m % 60:02d}:" for m in range(1440)).encode()
    millis = "".join(f"{m // 1000:02d}.{m % 1000:03d}" for m in range(60_000)).encode()
    return (
        np.frombuffer(minutes, dtype=np.uint8).reshape(1440, 6),
        np.frombuffer(millis, dtype=np.uint8).reshape(60_000, 6),
    )


def instants(day: date, millis: Ints) -> Text:
    """``"YYYY-MM-DDThh:mm:ss.mmmZ"`` for each instant, given in ms from the midnight (UTC) of ``day``."""
    minutes, seconds = _clock()
    days, rest = np.divmod(millis, DAY_MS)
    first = int(days.min()) if len(days) else 0
    last = int(days.max()) if len(days) else 0
    dates = b"".join((day + timedelta(days=d)).isoformat().encode() for d in range(first, last + 1))
    out = _framed(b"", len(millis), 24)
    out[:, 1:11] = np.frombuffer(dates, dtype=np.uint8).reshape(-1, 10)[days - first]
    out[:, 11] = ord("T")
    out[:, 12:18] = minutes[rest // 60_000]
    out[:, 18:24] = seconds[rest % 60_000]
    out[:, 24] = ord("Z")
    return _strings(out)


@cache
def _hundredths(limit: int) -> Text:
    return pa.array([f"{n / 100:.2f}".rstrip("0").rstrip(".") for n in range(limit)])


def hundredths(numbers: Ints) -> Text:
    """Each number of hundredths as a decimal without trailing zeros: 310 is ``3.1``."""
    limit = 1 << max(15, int(numbers.max(initial=0)).bit_length())
    if limit <= 1 << 17:
        return _hundredths(limit).take(pa.array(numbers))
    tail = pa.array([f".{n:02d}".rstrip("0").rstrip(".") for n in range(100)])
    return joined([integers(numbers // 100), tail.take(pa.array(numbers % 100))])


def integers(numbers: Ints) -> Text:
    """Each number in decimal."""
    return pc.cast(pa.array(numbers), pa.string())


def flags(values: Bools) -> Text:
    """``true`` or ``false`` for each value."""
    return chosen([False, True], values.astype(np.int64))


def chosen(values: Sequence[Any], index: Ints) -> Text:
    """The value at each index, as JSON; every other value keeps its non-ASCII characters unescaped."""
    texts = [json.dumps(v, ensure_ascii=n % 2 == 1, separators=(",", ":")) for n, v in enumerate(values)]
    return pa.array(texts).take(pa.array(index))


def where(condition: Bools, text: Text, otherwise: Text) -> Text:
    """``text`` in the rows where ``condition`` is true, ``otherwise`` in the others."""
    return pc.if_else(pa.array(condition), text, otherwise)


def joined(pieces: Iterable[Text]) -> Text:
    """The pieces of each row put together; at least one must be an array."""
    merged: list[Any] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    return pc.binary_join_element_wise(*(pa.scalar(p) if isinstance(p, str) else p for p in merged), "")


def json_object(members: Mapping[str, Text]) -> list[Text]:
    """The pieces of a JSON object with these members, in this order."""
    pieces: list[Text] = []
    for name, value in members.items():
        pieces += ["," if pieces else "{", json.dumps(name), ":", value]
    return [*pieces, "}"] if pieces else ["{}"]


def content(lines: Text) -> memoryview:
    """The bytes of all lines, one after the other, without copying. ``lines`` must not be a slice."""
    _, offsets, values = lines.buffers()
    if not len(lines):
        return memoryview(b"")
    return memoryview(values)[: int(np.frombuffer(offsets, dtype=np.int32)[len(lines)])]
