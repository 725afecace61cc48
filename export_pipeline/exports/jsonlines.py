"""The quick look at lines of JSONL: proves most of them right without parsing them.

Owns which lines are simple. Such a line is cut where its values should begin, and each piece is matched from
its first byte to its last; wherever the cuts are, the pieces together are the line. A line not proven
here is not wrong: a parser has to look at it.
"""

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.events.catalogue import DataType, Field

Longs = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Octets = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]

_DAY_US = 86_400_000_000
_TEXT = r'"[^"\\\x00-\x1f]*"'
_ESCAPE = r'\\(?:["\\/bfnrt]|u(?:[0-9a-cA-CefEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}))'
_TEXT_IN_DATA = rf'"(?:[^"\\\x00-\x1f]|{_ESCAPE})*"'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_SCALAR = f"(?:{_TEXT_IN_DATA}|{_NUMBER}|true|false|null)"

_INSTANT = b"0000-00-00T00:00:00.000Z"
_LONG, _SHORT = 24, 20
"""Of an instant with milliseconds, and of one without."""
_GATHERED = 32


@dataclass(frozen=True)
class Proven:
    """Which lines of a block are right; of those, the instants and where in the block the ids stand.

    Instants are in microseconds since 1970. What stands here for other lines means nothing.
    """

    lines: Flags
    us: Longs
    ids: Longs
    id_ends: Longs


def prove(kind: DataType, content: bytes, ends: Longs) -> Proven:
    """Look at the lines of ``content``, valid UTF-8, that end with the newlines before ``ends``."""
    octets = np.frombuffer(content, np.uint8)
    shape = _shape(kind)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    keys = octets[:-1] == ord('"')
    keys &= octets[1:] == ord(":")
    colons = np.flatnonzero(keys) + 1
    after = np.searchsorted(colons, ends)
    before = np.concatenate([np.zeros(1, np.int64), after[:-1]])
    right = (after - before >= shape.fields) & (ends - starts > 2 * _GATHERED)
    if not right.any():
        nothing = np.zeros(len(ends), np.int64)
        return Proven(right, nothing, nothing, nothing)

    def value(field: int) -> Longs:
        """Where a field's value begins: what comes before ``data`` is counted from the front."""
        at = before + field if field <= shape.data else after + (field - shape.fields)
        return colons[np.clip(at, 0, len(colons) - 1)] + 1

    def end(field: int) -> Longs:
        return value(field + 1) - len(shape.keys[field + 1])

    happened, happened_end = value(shape.timestamp) + 1, end(shape.timestamp) - 1
    received_end = np.maximum(ends - len(shape.tail), _LONG)
    received = received_end - np.where(octets[received_end - 5] == ord("."), _LONG, _SHORT)
    data, data_end = value(shape.data), end(shape.data)
    cuts = (starts, happened, happened_end, data, data_end, received, ends)
    for one, other in pairwise(cuts):
        right &= one <= other
    for array in cuts[1:-1]:
        # Cuts that are out of order are no cuts.
        np.copyto(array, starts, where=~right)

    for pattern, begin, stop in (
        (shape.before_timestamp, starts, happened),
        (shape.before_data, happened_end, data),
        (shape.before_received, data_end, received),
    ):
        right &= _match(content, pattern, begin, stop)
    flat = _match(content, _FLAT, data, data_end)
    rest = np.flatnonzero(right & ~flat)
    right &= flat
    if len(rest):
        right[rest] = _are_objects(content, data[rest], data_end[rest])
    us, is_instant = _instants(octets, happened, happened_end - happened)
    right &= is_instant
    written = _gathered(octets, received)
    right &= _is_written(written, received_end - received)[1]
    right &= _ends_with(_gathered(octets, np.maximum(ends - _GATHERED, 0)), shape.tail)
    return Proven(right, us, value(shape.event_id) + 1, end(shape.event_id) - 1)


def texts(content: bytes, begins: Longs, ends: Longs) -> pa.Array:
    """The bytes from each of ``begins`` to each of ``ends``, rising and apart from each other."""
    return _apart(content, begins, ends).take(pa.array(np.arange(len(begins)) * 2 + 1))


@dataclass(frozen=True)
class _Shape:
    """What a line of a data type looks like: its pieces, and the numbers of the fields between them."""

    keys: tuple[bytes, ...]
    timestamp: int
    data: int
    event_id: int
    before_timestamp: str
    before_data: str
    before_received: str
    tail: bytes

    @property
    def fields(self) -> int:
        return len(self.keys)


@cache
def _shape(kind: DataType) -> _Shape:
    names = [field.name for field in kind.row_fields]
    assert names[-2:] == ["receivedAt", "dataType"]
    timestamp, data = names.index("timestamp"), names.index("data")
    pairs = [
        f'{"," if number else chr(92) + "{"}"{field.name}":{_value(kind, field)}'
        for number, field in enumerate(kind.row_fields[:-2])
    ]
    return _Shape(
        keys=tuple(f',"{name}":'.encode() for name in names),
        timestamp=timestamp,
        data=data,
        event_id=names.index("eventId"),
        before_timestamp=f'^{"".join(pairs[:timestamp])},"timestamp":"$',
        before_data=f'^"{"".join(pairs[timestamp + 1 : data])},"data":$',
        before_received=f'^{"".join(pairs[data + 1 :])},"receivedAt":"$',
        tail=f'","dataType":"{kind.name}"}}\n'.encode(),
    )


def _value(kind: DataType, field: Field) -> str:
    values = tuple(kind.event) if field.name == "event" else field.values
    text = f'"(?:{"|".join(values)})"' if values else _TEXT
    pattern = {"string": text, "number": _NUMBER}.get(field.type, "")
    return f"(?:{pattern}|null)" if field.nullable else pattern


def _any_of(*patterns: str) -> str:
    return f"(?:{'|'.join(patterns)})"


def _array(value: str) -> str:
    return rf"\[(?:{value}(?:,{value})*)?\]"


def _object(value: str) -> str:
    pair = f"{_TEXT_IN_DATA}:{value}"
    return rf"\{{(?:{pair}(?:,{pair})*)?\}}"


_OBJECT = _object(_any_of(_SCALAR, _array(_SCALAR), _object(_any_of(_SCALAR, _array(_SCALAR)))))
_OBJECTS = re.compile(f"(?:{_OBJECT}\n)*".encode())
_FEW = 256
_FLAT = f"^{_object(_any_of(_TEXT, _NUMBER, 'true', 'false', 'null')).replace(_TEXT_IN_DATA, _TEXT)}$"


def _are_objects(content: bytes, begins: Longs, ends: Longs) -> Flags:
    """Whether the bytes from each of ``begins`` to each of ``ends`` are an object nested a few levels deep.

    Arrow makes a pattern ready in each call, and this one takes as long as all flat objects of a block. Few
    objects are looked at together by a pattern that is kept; which of them is wrong it does not tell.
    """
    if len(begins) <= _FEW:
        text = pa.large_string()
        together = pc.binary_join_element_wise(
            texts(content, begins, ends), pa.scalar("\n", text), pa.scalar("", text)
        )
        if _OBJECTS.fullmatch(together.buffers()[2]):
            return np.ones(len(begins), np.bool_)
    return _match(content, f"^{_OBJECT}$", begins, ends)


def _match(content: bytes, pattern: str, begins: Longs, ends: Longs) -> Flags:
    """Whether the bytes from each of ``begins`` to each of ``ends`` match ``pattern``."""
    found = pc.match_substring_regex(_apart(content, begins, ends), pattern)
    bits = np.frombuffer(found.buffers()[1], np.uint8)
    return np.unpackbits(bits, count=len(found), bitorder="little")[1::2].view(np.bool_)


def _apart(content: bytes, begins: Longs, ends: Longs) -> pa.Array:
    """An array over ``content`` itself: what is between the pieces, null, and the pieces, in turn."""
    offsets = np.empty(2 * len(begins) + 1, np.int64)
    offsets[0], offsets[1::2], offsets[2::2] = 0, begins, ends
    present = np.full(len(begins) // 4 + 1, 0b10101010, np.uint8)
    buffers = [pa.py_buffer(present), pa.py_buffer(offsets), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.large_string(), 2 * len(begins), buffers)


def _gathered(octets: Octets, begins: Longs) -> Words:
    """The bytes that begin at each place, as words with the first byte lowest."""
    everywhere: npt.NDArray[np.void] = np.ndarray(
        (len(octets) - _GATHERED + 1,), f"V{_GATHERED}", octets, 0, (1,)
    )
    return everywhere[np.minimum(begins, len(everywhere) - 1)].view("<u8").reshape(-1, _GATHERED // 8)


def _ends_with(words: Words, ending: bytes) -> Flags:
    wanted, counts = _padded(ending), _padded(b"\xff" * len(ending))
    right = np.ones(len(words), np.bool_)
    for place in range(_GATHERED // 8):
        right &= (words[:, place] & counts[place]) == wanted[place]
    return right


def _padded(ending: bytes) -> list[np.uint64]:
    return list(np.frombuffer(ending.rjust(_GATHERED, b"\0"), "<u8"))


_TEMPLATE = np.frombuffer(_INSTANT, "<u8")
_HIGH = np.uint64(0x8080808080808080)
# What, added to a byte that is at most 9 where a digit stands, or else is 0, leaves its highest bit unset.
_ROOM = np.frombuffer(bytes(0x76 if chr(byte) == "0" else 0x7F for byte in _INSTANT), "<u8")
_WHOLE = np.uint64(int.from_bytes(b".000Z", "little") << 24)
_SECOND = np.uint64((1 << 24) - 1)
_DAY = np.uint64(0xFFFF)


def _is_written(words: Words, lengths: Longs) -> tuple[list[Words], Flags]:
    """The digits of instants, byte by byte as in ``_INSTANT``, and which of them are written as they must."""
    seconds = words[:, 2]
    short = lengths == _SHORT
    bare = (seconds & _SECOND) | _WHOLE
    right = (lengths == _LONG) & (seconds != bare)
    right |= short & ((seconds >> np.uint64(24)) & np.uint64(0xFF) == ord("Z"))
    parts = (words[:, 0], words[:, 1], np.where(short, bare, seconds))
    digits = [part ^ template for part, template in zip(parts, _TEMPLATE, strict=True)]
    wrong = np.zeros(len(words), np.uint64)
    for each, room in zip(digits, _ROOM, strict=True):
        wrong |= (each + room) | each
    right &= (wrong & _HIGH) == 0
    return digits, right


def _instants(octets: Octets, begins: Longs, lengths: Longs) -> tuple[Longs, Flags]:
    """The instants written at ``begins``, in microseconds since 1970, and which of them exist."""
    (date, clock, seconds), right = _is_written(_gathered(octets, begins), lengths)
    hour, minute = _number(clock, 3, 4), _number(clock, 6, 7)
    second, millisecond = _number(seconds, 1, 2), _number(seconds, 4, 5, 6)
    right &= (hour < 24) & (minute < 60) & (second < 60)
    within = ((hour * 60 + minute) * 60 + second) * 1000 + millisecond
    at = int(np.argmax(right))
    if ((date == date[at]) & ((clock ^ clock[at]) & _DAY == 0)).all():
        # Rows stand in order: nearly all blocks are of one day.
        days, exists = _days(date[at : at + 1], clock[at : at + 1])
    else:
        days, exists = _days(date, clock)
    return within * 1000 + days * _DAY_US, right & exists


def _number(digits: Words, *places: int) -> Longs:
    value = np.zeros(len(digits), np.int64)
    for place in places:
        value = value * 10 + ((digits >> np.uint64(8 * place)) & np.uint64(0xFF)).astype(np.int64)
    return value


def _days(date: Words, clock: Words) -> tuple[Longs, Flags]:
    """Days since 1970 by the digits of dates, and which of them are in the calendar."""
    year, month, day = _number(date, 0, 1, 2, 3), _number(date, 5, 6), _number(clock, 0, 1)
    right = (year > 0) & (month >= 1) & (month <= 12)
    months = np.where(right, (year - 1970) * 12 + month - 1, 0)
    begins, ends = (each.astype("M8[M]").astype("M8[D]").astype(np.int64) for each in (months, months + 1))
    days = begins + day - 1
    return days, right & (days >= begins) & (days < ends)
