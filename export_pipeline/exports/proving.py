"""The quick look at rows of JSONL and CSV: proves nearly all of them right without a parser.

Owns what a proven row is: exactly the keys or columns of the contract in order, each value of its type, from
the row's first byte to its last. A row not proven here is not wrong: a parser has to look at it. The bytes
given are UTF-8 and end with a newline, at which every step stops.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from export_pipeline.events.catalogue import DataType, Field
from export_pipeline.exports.compiled import compiled, octet, word, zeros_below

Longs = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Octets = npt.NDArray[np.uint8]

_ANY, _EXTRA, _ID, _TEXT, _NUMBER, _OBJECT, _INSTANT, _ONE_OF = range(8)
"""What a value or a cell is: ``_ANY`` is a cell of ``data``, ``_EXTRA`` that of its other keys, ``_ID`` the
text whose place is kept."""

_FOUR_DIGITS, _TWO_DIGITS = 4, 2
_DEEPEST = 60
_EACH = 0x0101010101010101
_QUOTES, _BACKSLASHES, _BLANKS = (np.uint64(ord(each) * _EACH) for each in '"\\ ')
_ONES, _HIGHS, _NONE = np.uint64(_EACH), np.uint64(0x80 * _EACH), np.uint64(0)
_FORMULA = np.isin(np.arange(256), list(b"=+-@\t\r"))
_ESCAPES = np.isin(np.arange(256), list(b'"\\/bfnrt'))
_ENDS_CELL = np.isin(np.arange(256), list(b',\n"\r'))


@dataclass(frozen=True)
class Proven:
    """Which rows of a block are right; of those, the instants and where in the block the ids stand.

    ``ends`` are where all rows end. Instants are in microseconds since 1970. What stands here for other rows
    means nothing.
    """

    rows: Flags
    ends: Longs
    us: Longs
    ids: Longs
    id_ends: Longs


def prove_lines(kind: DataType, content: bytes) -> Proven:
    """Look at lines of JSONL."""
    octets = np.frombuffer(content, np.uint8)
    found = _nothing_proven(content.count(b"\n"))
    _lines(octets, *_line(kind), found.rows, found.ends, found.us, found.ids, found.id_ends)
    return found


def prove_cells(kind: DataType, content: bytes) -> Proven | None:
    """Look at rows of CSV; None if one of them is not proven, since then it is not known where it ends."""
    octets = np.frombuffer(content, np.uint8)
    found = _nothing_proven(content.count(b"\n"))
    rows = _cells(octets, *_row(kind), found.ends, found.us, found.ids, found.id_ends)
    if rows < 0:
        return None
    proven = np.ones(rows, np.bool_)
    return Proven(proven, found.ends[:rows], found.us[:rows], found.ids[:rows], found.id_ends[:rows])


def _nothing_proven(rows: int) -> Proven:
    ends, us, ids, id_ends = np.zeros((4, rows), np.int64)
    return Proven(np.zeros(rows, np.bool_), ends, us, ids, id_ends)


Texts = tuple[Octets, Longs]
"""Texts one after the other, and where each begins and the last one ends."""


def _texts(texts: Iterable[str]) -> Texts:
    encoded = [text.encode() for text in texts]
    return np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([0, *map(len, encoded)])


@cache
def _line(kind: DataType) -> tuple[Longs, Flags, Texts, Texts, Longs]:
    """What a line is made of: by field its kind, whether it can be null, the text before it, its values.

    Last, which of the values are each field's. The last of the texts is that after the last field.
    """
    before: list[str] = []
    quoted = ""
    for place, field in enumerate(kind.row_fields):
        before.append(f'{quoted}{"," if place else "{"}"{field.name}":')
        quoted = '"' if field.datetime else ""
        before[-1] += quoted
    values = [[f'"{value}"' for value in _values(kind, field)] for field in kind.row_fields]
    return (
        *_kinds(kind.row_fields, values),
        _texts([*before, quoted + "}\n"]),
        _texts(value for each in values for value in each),
        np.cumsum([0, *map(len, values)]),
    )


@cache
def _row(kind: DataType) -> tuple[Longs, Flags, Texts, Longs]:
    """What a row is made of: by column as ``_line``, with no texts between; ``data.`` is any cell."""
    fields = {field.name: field for field in kind.row_fields}
    columns = [fields.get(name) or Field(name, "any", "") for name in kind.csv_columns]
    values = [list(_values(kind, field)) for field in columns]
    kinds, nullable = _kinds(columns, values)
    kinds[kind.csv_columns.index("data.extra")] = _EXTRA
    flat = _texts(value for each in values for value in each)
    return kinds, nullable, flat, np.cumsum([0, *map(len, values)])


def _values(kind: DataType, field: Field) -> tuple[str, ...]:
    return {"event": tuple(kind.event), "dataType": (kind.name,)}.get(field.name, field.values)


def _kinds(fields: Sequence[Field], values: Sequence[Sequence[str]]) -> tuple[Longs, Flags]:
    known = {"any": _ANY, "number": _NUMBER, "object": _OBJECT, "string": _TEXT}
    kinds = [
        _ID if f.name == "eventId" else _INSTANT if f.datetime else _ONE_OF if listed else known[f.type]
        for f, listed in zip(fields, values, strict=True)
    ]
    return np.array(kinds, np.int64), np.array([field.nullable for field in fields], np.bool_)


@compiled
def _lines(octets, kinds, nullable, before, values, values_of, proven, ends, us, ids, id_ends):
    keys, keys_at = before
    fields = len(kinds)
    begin = 0
    for row in range(len(ends)):
        at = begin
        for field in range(fields):
            at = _after(octets, at, keys, keys_at[field], keys_at[field + 1])
            if at < 0:
                break
            kind = kinds[field]
            if kind == _OBJECT:
                at = _after_object(octets, at)
            elif kind == _INSTANT:
                instant, at = _instant(octets, at)
                if field < fields - 2:
                    us[row] = instant
            elif kind == _ONE_OF:
                at = _after_one_of(octets, at, values, values_of[field], values_of[field + 1])
            elif nullable[field] and octet(octets, at) == ord("n"):
                at = _after_null(octets, at)
            elif kind == _NUMBER:
                at = _after_number(octets, at)
            elif octet(octets, at) != ord('"'):
                at = -1
            elif kind == _TEXT:
                at = _after_text(octets, at + 1)
            else:
                ids[row] = at + 1
                at = _after_plain_text(octets, at + 1)
                id_ends[row] = at - 1
            if at < 0:
                break
        if at >= 0:
            at = _after(octets, at, keys, keys_at[fields], keys_at[fields + 1])
        proven[row] = at >= 0
        if at < 0:
            at = begin
            while octet(octets, at) != ord("\n"):
                at += 1
            at += 1
        ends[row] = begin = at


@compiled
def _after(octets, at, texts, begin, end):
    """The place after a text, if it stands at ``at``; else -1."""
    while begin + 8 <= end and at + 8 <= len(octets):
        if word(octets, at) != word(texts, begin):
            return -1
        at += 8
        begin += 8
    while begin < end:
        if octet(octets, at) != octet(texts, begin):
            return -1
        at += 1
        begin += 1
    return at


@compiled
def _after_one_of(octets, at, values, first, last):
    texts, texts_at = values
    for value in range(first, last):
        end = _after(octets, at, texts, texts_at[value], texts_at[value + 1])
        if end >= 0:
            return end
    return -1


@compiled
def _after_null(octets, at):
    if (
        octet(octets, at + 1) == ord("u")
        and octet(octets, at + 2) == ord("l")
        and octet(octets, at + 3) == ord("l")
    ):
        return at + 4
    return -1


@compiled
def _after_clean(octets, at):
    """The place of the first quote, backslash or control character from ``at`` on."""
    while at + 8 <= len(octets):
        eight = word(octets, at)
        quotes, backslashes = eight ^ _QUOTES, eight ^ _BACKSLASHES
        special = (
            (quotes - _ONES) & ~quotes | (backslashes - _ONES) & ~backslashes | (eight - _BLANKS) & ~eight
        )
        special &= _HIGHS
        if special != _NONE:
            return at + (zeros_below(special) >> 3)
        at += 8
    while octet(octets, at) >= ord(" ") and octet(octets, at) != ord('"') and octet(octets, at) != ord("\\"):
        at += 1
    return at


@compiled
def _after_plain_text(octets, at):
    at = _after_clean(octets, at)
    return at + 1 if octet(octets, at) == ord('"') else -1


@compiled
def _after_text(octets, at):
    while True:
        at = _after_clean(octets, at)
        special = octet(octets, at)
        if special == ord('"'):
            return at + 1
        if special != ord("\\"):
            return -1
        at = _after_escape(octets, at + 1)
        if at < 0:
            return -1


@compiled
def _after_escape(octets, at):
    kind = octet(octets, at)
    if kind != ord("u"):
        return at + 1 if _ESCAPES[kind] else -1
    unit = _hexadecimal(octets, at + 1)
    if 0xD800 <= unit < 0xDC00 and octet(octets, at + 5) == ord("\\") and octet(octets, at + 6) == ord("u"):
        at += 6
        unit = _hexadecimal(octets, at + 1) - 0xDC00
        return at + 5 if 0 <= unit < 0x400 else -1
    return -1 if unit < 0 or 0xD800 <= unit < 0xE000 else at + 5


@compiled
def _hexadecimal(octets, at):
    value = 0
    for place in range(at, at + _FOUR_DIGITS):
        digit = int(octet(octets, place))
        if ord("0") <= digit <= ord("9"):
            digit -= ord("0")
        elif ord("a") <= digit | 0x20 <= ord("f"):
            digit = (digit | 0x20) - ord("a") + 10
        else:
            return -1
        value = value * 16 + digit
    return value


@compiled
def _is_digit(octets, at):
    return ord("0") <= octet(octets, at) <= ord("9")


@compiled
def _after_digits(octets, at):
    if not _is_digit(octets, at):
        return -1
    while _is_digit(octets, at):
        at += 1
    return at


@compiled
def _after_number(octets, at):
    if octet(octets, at) == ord("-"):
        at += 1
    at = at + 1 if octet(octets, at) == ord("0") else _after_digits(octets, at)
    if at >= 0 and octet(octets, at) == ord("."):
        at = _after_digits(octets, at + 1)
    if at >= 0 and octet(octets, at) | 0x20 == ord("e"):
        at += 1
        if octet(octets, at) == ord("+") or octet(octets, at) == ord("-"):
            at += 1
        at = _after_digits(octets, at)
    return at


@compiled
def _after_scalar(octets, at):
    first = octet(octets, at)
    if first == ord('"'):
        return _after_text(octets, at + 1)
    if first == ord("n"):
        return _after_null(octets, at)
    if first == ord("t"):
        rue = octet(octets, at + 1) == ord("r") and octet(octets, at + 2) == ord("u")
        return at + 4 if rue and octet(octets, at + 3) == ord("e") else -1
    if first == ord("f"):
        als = (
            octet(octets, at + 1) == ord("a")
            and octet(octets, at + 2) == ord("l")
            and octet(octets, at + 3) == ord("s")
        )
        return at + 5 if als and octet(octets, at + 4) == ord("e") else -1
    return _after_number(octets, at)


@compiled
def _after_key(octets, at):
    if octet(octets, at) != ord('"'):
        return -1
    at = _after_text(octets, at + 1)
    return at + 1 if at >= 0 and octet(octets, at) == ord(":") else -1


@compiled
def _after_object(octets, at):
    """The place after an object without white space, nested less than ``_DEEPEST`` deep."""
    if octet(octets, at) != ord("{"):
        return -1
    depth, are_objects = 0, 0  # the lowest bit tells of what is innermost
    while True:
        first = octet(octets, at)
        if first == ord("{") or first == ord("["):
            is_object = first == ord("{")
            if depth == _DEEPEST:
                return -1
            if octet(octets, at + 1) == first + 2:
                at += 2
            else:
                depth += 1
                are_objects = are_objects * 2 + is_object
                at = _after_key(octets, at + 1) if is_object else at + 1
                if at < 0:
                    return -1
                continue
        else:
            at = _after_scalar(octets, at)
            if at < 0:
                return -1
        while depth and octet(octets, at) == (ord("}") if are_objects & 1 else ord("]")):
            depth -= 1
            are_objects >>= 1
            at += 1
        if not depth:
            return at
        if octet(octets, at) != ord(","):
            return -1
        at = _after_key(octets, at + 1) if are_objects & 1 else at + 1
        if at < 0:
            return -1


@compiled
def _digits(octets, at, count):
    value = 0
    for place in range(at, at + count):
        if not _is_digit(octets, place):
            return -1
        value = value * 10 + int(octet(octets, place)) - ord("0")
    return value


@compiled
def _instant(octets, at):
    """The instant that is written at ``at``, in microseconds since 1970, and the place after it, else -1."""
    year = _digits(octets, at, _FOUR_DIGITS)
    if year < 1 or octet(octets, at + 4) != ord("-"):
        return 0, -1
    month = _digits(octets, at + 5, _TWO_DIGITS)
    if not 1 <= month <= 12 or octet(octets, at + 7) != ord("-"):
        return 0, -1
    day = _digits(octets, at + 8, _TWO_DIGITS)
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = 28 + is_leap if month == 2 else 31 - (month == 4 or month == 6 or month == 9 or month == 11)
    if not 1 <= day <= days or octet(octets, at + 10) != ord("T"):
        return 0, -1
    hour = _digits(octets, at + 11, _TWO_DIGITS)
    if not 0 <= hour <= 23 or octet(octets, at + 13) != ord(":"):
        return 0, -1
    minute = _digits(octets, at + 14, _TWO_DIGITS)
    if not 0 <= minute <= 59 or octet(octets, at + 16) != ord(":"):
        return 0, -1
    second = _digits(octets, at + 17, _TWO_DIGITS)
    if not 0 <= second <= 59:
        return 0, -1
    at += 19
    millisecond = 0
    if octet(octets, at) == ord("."):
        millisecond = _digits(octets, at + 1, 3)
        if millisecond <= 0:
            return 0, -1
        at += 4
    if octet(octets, at) != ord("Z"):
        return 0, -1
    # Days since 1970-01-01 of a date whose year begins in March.
    years = year - (month <= 2)
    since_march = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    date = 365 * years + years // 4 - years // 100 + years // 400 + since_march - 719_468
    return (((date * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + millisecond * 1000, at + 1


@compiled
def _cells(octets, kinds, nullable, values, values_of, ends, us, ids, id_ends):
    """How many rows there are, or -1 if one is not proven."""
    columns = len(kinds)
    at, row = 0, 0
    while at < len(octets):
        has_instant = False
        for column in range(columns):
            kind = kinds[column]
            first = octet(octets, at)
            if first == ord(",") or first == ord("\n"):
                if not nullable[column]:
                    return -1
            elif kind in (_ANY, _TEXT):
                at = _after_cell(octets, at, kind == _ANY)
            elif kind == _EXTRA:
                if first != ord('"') or octet(octets, at + 1) != ord("{"):
                    return -1
                begin = at
                at = _after_cell(octets, at, True)
                if at < begin + len('"{.}"') or octet(octets, at - 2) != ord("}"):
                    return -1
            elif kind == _INSTANT:
                instant, at = _instant(octets, at)
                if not has_instant:
                    us[row] = instant
                    has_instant = True
            elif kind == _ONE_OF:
                at = _after_one_of(octets, at, values, values_of[column], values_of[column + 1])
            elif kind == _NUMBER:
                at = _after_number(octets, at)
            elif kind == _ID and first != ord('"'):
                ids[row] = at
                at = _after_cell(octets, at, False)
                id_ends[row] = at
            else:
                return -1
            if at < 0 or octet(octets, at) != (ord(",") if column + 1 < columns else ord("\n")):
                return -1
            at += 1
        ends[row] = at
        row += 1
    return row


@compiled
def _after_cell(octets, at, is_data):
    """The place after a cell of text in which a spreadsheet sees no formula; in ``data``, of a number too."""
    is_quoted = octet(octets, at) == ord('"')
    at += is_quoted
    if _FORMULA[octet(octets, at)] and not (
        is_data and octet(octets, at) == ord("-") and _is_digit(octets, at + 1)
    ):
        return -1
    if not is_quoted:
        while not _ENDS_CELL[octet(octets, at)]:
            at += 1
        return at
    while at < len(octets):
        if octet(octets, at) == ord('"'):
            if at + 1 == len(octets) or octet(octets, at + 1) != ord('"'):
                return at + 1
            at += 1
        at += 1
    return -1
