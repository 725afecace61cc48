"""The quick look at rows of JSONL and CSV: proves nearly all of them right without a parser.

Owns what a proven row is: exactly the keys or columns of the contract in order, each value of its type, from
the row's first byte to its last. A row not proven here is not wrong: a parser has to look at it. The bytes
given are UTF-8 and end with a newline.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from export_pipeline.events.catalogue import DataType, Field
from export_pipeline.exports import grammar, rising
from export_pipeline.exports.grammar import Flags, Longs, Texts

_TYPED = {"any": grammar.ANY, "number": grammar.NUMBER, "object": grammar.OBJECT, "string": grammar.TEXT}
_NAMED = {"eventId": grammar.ID, "timestamp": grammar.HAPPENED, "data.extra": grammar.EXTRA}


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
    before, fields = _line(kind)
    grammar.lines(octets, before, *fields, found.rows, found.ends, found.us, found.ids, found.id_ends)
    return found


def prove_cells(kind: DataType, content: bytes) -> Proven | None:
    """Look at rows of CSV; None if one of them is not proven, since then it is not known where it ends."""
    octets = np.frombuffer(content, np.uint8)
    found = _nothing_proven(content.count(b"\n"))
    rows = grammar.cells(octets, *_row(kind), found.ends, found.us, found.ids, found.id_ends)
    if rows < 0:
        return None
    proven = np.ones(rows, np.bool_)
    return Proven(proven, found.ends[:rows], found.us[:rows], found.ids[:rows], found.id_ends[:rows])


def rise(content: bytes, proven: Proven, unsure: str = "") -> bool:
    """Whether all rows are proven, and each is after the one before it, by instant and the bytes of its id.

    Args:
        unsure: what an id begins with of which these bytes do not tell its place.
    """
    octets = np.frombuffer(content, np.uint8)
    return bool(proven.rows.all()) and rising.rise(
        octets, proven.us, proven.ids, proven.id_ends, ord(unsure) if unsure else -1
    )


def _nothing_proven(rows: int) -> Proven:
    ends, us, ids, id_ends = np.zeros((4, rows), np.int64)
    return Proven(np.zeros(rows, np.bool_), ends, us, ids, id_ends)


Described = tuple[Longs, Flags, Texts, Longs]
"""By field its kind and whether it can be null; the values that are listed, and which are each field's."""


@cache
def _line(kind: DataType) -> tuple[Texts, Described]:
    """What a line is made of: the text before each field and that after the last one, and the fields."""
    before: list[str] = []
    quoted = ""
    for place, field in enumerate(kind.row_fields):
        before.append(f'{quoted}{"," if place else "{"}"{field.name}":')
        quoted = '"' if field.datetime else ""
        before[-1] += quoted
    values = [[f'"{value}"' for value in _values(kind, field)] for field in kind.row_fields]
    return _texts([*before, quoted + "}\n"]), _described(kind.row_fields, values)


@cache
def _row(kind: DataType) -> Described:
    """What a row is made of; what is not a field of it is a field of ``data``."""
    fields = {field.name: field for field in kind.row_fields}
    columns = [fields.get(name) or Field(name, "any", "") for name in kind.csv_columns]
    return _described(columns, [_values(kind, field) for field in columns])


def _values(kind: DataType, field: Field) -> Sequence[str]:
    return {"event": tuple(kind.event), "dataType": (kind.name,)}.get(field.name, field.values)


def _described(fields: Sequence[Field], values: Sequence[Sequence[str]]) -> Described:
    kinds = [grammar.ONE_OF if listed else _kind(field) for field, listed in zip(fields, values, strict=True)]
    return (
        np.array(kinds, np.int64),
        np.array([field.nullable for field in fields], np.bool_),
        _texts(value for each in values for value in each),
        np.cumsum([0, *map(len, values)]),
    )


def _kind(field: Field) -> int:
    return _NAMED.get(field.name, grammar.INSTANT if field.datetime else _TYPED[field.type])


def _texts(texts: Iterable[str]) -> Texts:
    encoded = [text.encode() for text in texts]
    return np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([0, *map(len, encoded)])
