"""Editing lines of export files: rows that go, and ids taken out of the rows that stay.

Lines that hold neither are not touched. Works on blocks of whole lines, in Arrow; what an id looks like in
bytes is for its finder to know, and what a line looks like as a file for ``encoding``.
"""

import io
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json

from export_pipeline.errors import DamagedData
from export_pipeline.events.catalogue import DATA_TYPES, vocabulary
from export_pipeline.exports.readback import row_ends
from export_pipeline.exports.rows import json_keys, meant

Flags = npt.NDArray[np.bool_]
Longs = npt.NDArray[np.int64]

_USER, _EVENT_ID, _TIMESTAMP = "userId", "eventId", "timestamp"
_AFTER_EVENT_ID = '","receivedAt":"'
_SHORT = 6
_FORMULA = r"^([=+\-@\t\r])"
_NEEDS_QUOTES = r'[",\r\n]'


class Mentions(Protocol):
    """Finds ids of people in bytes and in values, and takes them out."""

    def occurs(self, content: Any) -> bool:
        """Whether ``content``, with a buffer, holds a match."""

    def mentioned(self, values: Any) -> Flags:
        """Of each value whether it holds a match."""

    def replace(self, values: Any) -> tuple[pa.ChunkedArray, int]:
        """The values with every match replaced, and how many there were."""

    def marks(self, values: Any) -> pa.Array:
        """What is put behind each value, so that those with a match stay different from each other."""


@dataclass(frozen=True)
class Edit:
    """What is taken out of exports.

    Args:
        users: the ``userId`` of each row that goes.
        anyone: finds any of ``users``, and all that ``mentions`` finds.
        mentions: finds the ids that may stay nowhere, and takes them out.
    """

    users: Collection[str] = field(repr=False)
    anyone: Mentions = field(repr=False)
    mentions: Mentions = field(repr=False)

    @cached_property
    def values(self) -> pa.Array:
        """``users`` as Arrow has them."""
        return pa.array(sorted(self.users), pa.string())

    @cached_property
    def shows_in_bytes(self) -> bool:
        """Whether each id is found in the bytes of CSV; short ones and common words only in its cells."""
        words = vocabulary()
        return all(len(user) >= _SHORT and user not in words for user in self.users)


@dataclass(frozen=True)
class Lines:
    """Lines that stay, in order, with what they are ordered by; and what went.

    ``us`` are microseconds since 1970; ``removed`` are the ids of the events of rows that went, ids of people
    taken out of them; ``replaced`` counts the ids taken out of rows that stay.
    """

    us: Longs
    ids: pa.Array
    lines: pa.Array
    removed: pa.Array
    replaced: int


def may_hold(edit: Edit, format: str, block: bytes) -> bool:
    """Whether ``block``, whole lines of a part file, may hold anything to be taken out."""
    return (format == "csv" and not edit.shows_in_bytes) or edit.anyone.occurs(block)


def edited(edit: Edit, data_type: str, format: str, block: bytes) -> Lines:
    """What stays of ``block``, whole lines without a header.

    Raises:
        DamagedData: if they are not lines of ``data_type``; the message quotes none of them.
    """
    lines = _lines(block, format)
    touched = may_hold(edit, format, block)
    try:
        if format == "csv":
            return _csv(edit, data_type, block, lines, touched)
        return _jsonl(edit, data_type, block, lines, touched)
    except (pa.ArrowInvalid, ValueError):
        raise DamagedData(f"lines of {data_type} are not what was published") from None


def _lines(block: bytes, format: str) -> pa.Array:
    offsets = np.concatenate([np.zeros(1, np.int64), row_ends(block, format)])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)


def _jsonl(edit: Edit, data_type: str, block: bytes, lines: pa.Array, touched: bool) -> Lines:
    removed, replaced = pa.array([], pa.string()), 0
    if touched:
        found = _parsed(block, (_USER, _EVENT_ID))
        gone = _are(found[_USER], edit.values)
        removed, lines = found[_EVENT_ID].filter(gone), lines.filter(pc.invert(gone))
        lines, replaced = _replaced(edit, lines)
        if replaced:
            lines = _marked(lines, edit.mentions.marks(found[_EVENT_ID].filter(pc.invert(gone))))
        block = _content(lines)
    us, ids = json_keys(data_type, block) if block else _nothing()
    return Lines(us, ids, lines, _replaced(edit, removed)[0], replaced)


def _marked(lines: pa.Array, marks: pa.Array) -> pa.Array:
    """Lines of JSON with marks behind their ``eventId``."""
    some = pc.not_equal(marks, "")
    if not pc.any(some).as_py():
        return lines
    # Nothing after the eventId of a row can hold this; data before it can.
    halves = [line.rpartition(_AFTER_EVENT_ID) for line in lines.filter(some).to_pylist()]
    anew = [
        f"{first}{mark}{middle}{last}"
        for (first, middle, last), mark in zip(halves, marks.filter(some).to_pylist(), strict=True)
    ]
    return pc.replace_with_mask(lines, some, pa.array(anew, lines.type))


def _parsed(block: bytes, names: tuple[str, ...]) -> dict[str, pa.Array]:
    table = pa.json.read_json(
        io.BytesIO(block),
        read_options=pa.json.ReadOptions(use_threads=False, block_size=len(block) + 1),
        parse_options=pa.json.ParseOptions(
            explicit_schema=pa.schema([(name, pa.string()) for name in names]),
            unexpected_field_behavior="ignore",
        ),
    )
    return {name: _one(table[name]) for name in names}


def _csv(edit: Edit, data_type: str, block: bytes, lines: pa.Array, touched: bool) -> Lines:
    names = list(DATA_TYPES[data_type].csv_columns)
    cells = _cells(block, names, names if touched else [_TIMESTAMP, _EVENT_ID])
    removed, replaced = pa.array([], pa.string()), 0
    if touched:
        written = cells[_USER]
        gone = pc.or_(_are(written, edit.values), _are(meant(written), edit.values))
        removed = meant(cells[_EVENT_ID].filter(gone))
        cells = {name: column.filter(pc.invert(gone)) for name, column in cells.items()}
        lines = lines.filter(pc.invert(gone))
        cells, changed, replaced = _without_mentions(edit, cells)
        if len(at := np.flatnonzero(changed)):
            anew = _csv_lines([cells[name].take(pa.array(at)) for name in names])
            lines = pc.replace_with_mask(lines, pa.array(changed), anew)
    us = cells[_TIMESTAMP].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    ids = meant(cells[_EVENT_ID])
    return Lines(_longs(us), ids, lines, _replaced(edit, removed)[0], replaced)


def _cells(block: bytes, names: list[str], wanted: list[str]) -> dict[str, pa.Array]:
    """Columns of lines of CSV as written, quotes undone; empty cells are null."""
    table = pa.csv.read_csv(
        io.BytesIO(block),
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=wanted,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return {name: _one(table[name]) for name in wanted}


def _without_mentions(edit: Edit, cells: dict[str, pa.Array]) -> tuple[dict[str, pa.Array], Flags, int]:
    """The columns with ids taken out of their cells, which rows that changed, and how many ids went."""
    changed = np.zeros(len(cells[_USER]), np.bool_)
    replaced = 0
    for name, column in cells.items():
        if column.null_count == len(column):
            continue
        texts = meant(column)
        mentioned = edit.mentions.mentioned(texts)
        if not mentioned.any():
            continue
        texts = texts.filter(pa.array(mentioned))
        anew, count = _replaced(edit, texts)
        if name == _EVENT_ID:
            anew = pc.binary_join_element_wise(anew, edit.mentions.marks(texts), "")
        defused = pc.replace_substring_regex(anew, _FORMULA, r"'\1")
        cells = {**cells, name: pc.replace_with_mask(column, pa.array(mentioned), defused)}
        changed |= mentioned
        replaced += count
    return cells, changed, replaced


def _csv_lines(columns: list[pa.Array]) -> pa.Array:
    lines = pc.binary_join_element_wise(*map(_written, columns), ",")
    return pc.binary_join_element_wise(lines, "\n", "").cast(pa.large_string())


def _written(cells: pa.Array) -> pa.Array:
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(cells, '"', '""'), '"', "")
    needs = pc.or_(pc.match_substring_regex(cells, _NEEDS_QUOTES), pc.equal(cells, ""))
    return pc.if_else(needs, quoted, cells).fill_null("")


def _replaced(edit: Edit, values: pa.Array) -> tuple[pa.Array, int]:
    anew, count = edit.mentions.replace(values)
    return (_one(anew), count) if count else (values, 0)


def _are(values: pa.Array, among: pa.Array) -> pa.Array:
    return pc.is_in(values, value_set=among)


def _content(lines: pa.Array) -> bytes:
    """The bytes of lines, one after the other."""
    _, places, content = lines.buffers()
    offsets = np.frombuffer(places, np.int64)[lines.offset : lines.offset + len(lines) + 1]
    return bytes(memoryview(content)[int(offsets[0]) : int(offsets[-1])]) if len(lines) else b""


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _longs(values: pa.Array) -> Longs:
    return np.asarray(values.to_numpy(zero_copy_only=False), np.int64)


def _nothing() -> tuple[Longs, pa.Array]:
    return np.zeros(0, np.int64), pa.array([], pa.string())
