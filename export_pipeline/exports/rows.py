"""The second reader's view of rows: whole lines of JSONL or CSV, proven or parsed, and checked.

Owns what is right inside a file: the rows parse, have exactly the keys or columns of the contract
in order, the right types, names and instants, and stand in export order. Shares nothing with
the writer but the catalogue.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from itertools import product
from types import ModuleType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json

from export_pipeline.events.catalogue import DATA_TYPES, DataType, Field

_EPOCH = date(1970, 1, 1)
_DAY_US = 86_400_000_000
_INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z"
_ZERO_FRACTION = ".000Z"
_STRING = r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_FORMULA = r"^(?:[=+@\t\r]|-)"
_FORMULA_IN_DATA = r"^(?:[=+@\t\r]|-(?:[^0-9]|$))"
_PREFIX = "'"
_BEGINS_FORMULA = np.isin(np.arange(256), list(b"=+-@\t\r"))

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Problem:
    """What is wrong, as the end of a sentence, and in which row (from 1) if it is one row."""

    text: str
    row: int | None = None

    def after(self, rows: int) -> "Problem":
        """The same problem counted from ``rows`` rows earlier."""
        return self if self.row is None else Problem(self.text, self.row + rows)

    def __str__(self) -> str:
        return self.text if self.row is None else f"row {self.row} {self.text}"


class Key(NamedTuple):
    """A row's place in the order: microseconds since 1970, then ``eventId``.

    A CSV cell ``'=x`` is either the id ``=x`` made harmless or the id ``'=x`` itself: both are kept.
    """

    us: int
    written: bytes
    meant: bytes

    def before(self, other: "Key") -> bool:
        """Whether this can be the row before ``other``."""
        if self.us != other.us:
            return self.us < other.us
        return min(self.written, self.meant) < max(other.written, other.meant)


@dataclass
class Content:
    """What was found in consecutive rows: how many, by day, the first and last key, and problems."""

    rows: int = 0
    first: Key | None = None
    last: Key | None = None
    days: dict[date, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def extend(self, following: "Content") -> None:
        """Take in what was found in the rows right after these."""
        if self.last and following.first and not self.last.before(following.first):
            self.problems.append(_misplaced(self.rows + 1))
        self.problems += [problem.after(self.rows) for problem in following.problems]
        self.first = self.first or following.first
        self.last = following.last or self.last
        self.rows += following.rows
        for day, count in following.days.items():
            self.days[day] = self.days.get(day, 0) + count


@dataclass(frozen=True)
class _Keys:
    """The instants of rows, in microseconds since 1970, and the ``eventId`` of some of them, which rise.

    ``rise``: each row is known to be after the one before it; if not, it may be so all the same.
    """

    us: Longs
    ids: Callable[[Longs], pa.Array]
    rise: bool = False


class _Wrong(Exception):
    def __init__(self, text: str, row: int | None = None) -> None:
        super().__init__(text)
        self.problem = Problem(text, row)


def check(data_type: str, format: str, content: bytes) -> Content:
    """What is found in ``content``: complete rows of ``data_type``, without a CSV header."""
    kind = DATA_TYPES[data_type]
    if not content:
        return Content()
    try:
        if not content.endswith(b"\n"):
            raise _Wrong("is cut off inside its last row")
        _check_unicode(content)
        keys = _json_keys(kind, content) if format == "jsonl" else _csv_keys(kind, content)
        return _ordered(keys, defused=format == "csv")
    except _Wrong as wrong:
        return Content(rows=content.count(b"\n"), problems=[wrong.problem])


def json_keys(data_type: str, content: bytes) -> tuple[Longs, pa.Array]:
    """The instants of lines of JSONL, in microseconds since 1970, and their ``eventId``.

    Raises:
        ValueError: if they are not as they must be.
    """
    try:
        keys = _json_keys(DATA_TYPES[data_type], content)
    except _Wrong as wrong:
        raise ValueError(str(wrong.problem)) from None
    return keys.us, keys.ids(np.arange(len(keys.us)))


def _check_unicode(content: bytes) -> None:
    # Arrow looks without making a text of it, which can be four times as large as the bytes.
    offsets = pa.py_buffer(np.array([0, len(content)], np.int64))
    whole = pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(content)])
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid:
        raise _Wrong("is not UTF-8", _first_not_unicode(content)) from None


def _first_not_unicode(content: bytes) -> int | None:
    """The row, from 1, of the first byte that is not UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return content.count(b"\n", 0, error.start) + 1
    return None


def _json_keys(kind: DataType, content: bytes) -> _Keys:
    found = _proving().prove_lines(kind, content)
    ends, rest = found.ends, np.flatnonzero(~found.rows)
    if not len(rest):
        return _Keys(
            found.us,
            lambda rows: _texts(content, found.ids[rows], found.id_ends[rows]),
            _proving().rise(content, found),
        )
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    lines = _texts(content, starts[rest], ends[rest])
    try:
        us, others = _parsed(kind, lines)
    except _Wrong as wrong:
        row = wrong.problem.row
        raise _Wrong(wrong.problem.text, None if row is None else int(rest[row - 1]) + 1) from None
    found.us[rest] = us

    def ids(rows: Longs) -> pa.Array:
        unproven = ~found.rows[rows]
        known = _texts(content, found.ids[rows[~unproven]], found.id_ends[rows[~unproven]])
        parsed = others.take(pa.array(np.searchsorted(rest, rows[unproven])))
        places = np.where(unproven, len(known) + np.cumsum(unproven), np.cumsum(~unproven)) - 1
        return pa.concat_arrays([known.cast(pa.string()), parsed]).take(pa.array(places))

    return _Keys(found.us, ids)


def _proving() -> ModuleType:
    # Compiling rows is dear to import, and not every process reads any.
    from export_pipeline.exports import proving

    return proving


def _texts(content: bytes, begins: Longs, ends: Longs) -> pa.Array:
    """The bytes from each of ``begins`` to each of ``ends``, rising and apart from each other."""
    offsets = np.empty(2 * len(begins) + 1, np.int64)
    offsets[0], offsets[1::2], offsets[2::2] = 0, begins, ends
    # What is between the texts is a text too, of which none is taken.
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(content)]
    both = pa.Array.from_buffers(pa.large_string(), 2 * len(begins), buffers)
    return both.take(pa.array(np.arange(len(begins)) * 2 + 1))


def _parsed(kind: DataType, lines: pa.Array) -> tuple[Longs, pa.Array]:
    """The instants and ids of lines that were parsed, all of them."""
    matches = pc.match_substring_regex(lines, _line_pattern(kind))
    if not pc.all(matches).as_py():
        row = pc.index(matches, False).as_py() + 1
        raise _Wrong(f"is not a JSON object with the keys and types of {kind.name} in order", row)
    content = lines.buffers()[2]
    wanted = pa.schema([("timestamp", pa.string()), ("eventId", pa.string())])
    try:
        table = pa.json.read_json(
            pa.BufferReader(content),
            memory_pool=pa.system_memory_pool(),
            read_options=pa.json.ReadOptions(use_threads=False, block_size=content.size + 1),
            parse_options=pa.json.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid as error:
        found = re.search(r"in row (\d+)", str(error))
        raise _Wrong("is not JSON", int(found[1]) + 1 if found else None) from None
    if len(table) != len(lines):
        raise _Wrong(f"holds {len(table)} JSON objects in {len(lines)} lines")
    return _microseconds(_one(table["timestamp"])), _one(table["eventId"])


@cache
def _line_pattern(kind: DataType) -> str:
    pairs = ",".join(f'"{f.name}":{_value_pattern(kind, f)}' for f in kind.row_fields)
    return f"^\\{{{pairs}\\}}\n$"


def _value_pattern(kind: DataType, field: Field) -> str:
    if field.name == "dataType":
        return f'"{kind.name}"'
    if field.name == "event":
        return f'"(?:{"|".join(kind.event)})"'
    if field.values:
        return f'"(?:{"|".join(field.values)})"'
    if field.datetime:
        return f'"{_INSTANT}"'
    pattern = {"string": _STRING, "number": _NUMBER, "object": r"\{.*\}"}[field.type]
    return f"(?:{pattern}|null)" if field.nullable else pattern


def _csv_keys(kind: DataType, content: bytes) -> _Keys:
    if found := _proving().prove_cells(kind, content):
        return _Keys(
            found.us,
            lambda rows: _texts(content, found.ids[rows], found.id_ends[rows]).cast(pa.string()),
            _proving().rise(content, found, unsure=_PREFIX),
        )
    names = list(kind.csv_columns)
    try:
        table = pa.csv.read_csv(
            io.BytesIO(content),
            memory_pool=pa.system_memory_pool(),
            read_options=pa.csv.ReadOptions(
                use_threads=False, block_size=len(content) + 1, column_names=names
            ),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        found = re.search(r"Row #(\d+)", str(error))
        raise _Wrong(f"does not have {len(names)} columns", int(found[1]) if found else None) from None
    fields = {f.name: f for f in kind.row_fields}
    for name in names:
        cells = _one(table[name])
        if name in fields:
            _check_column(kind, fields[name], cells)
        elif cells.null_count < len(cells):
            _no_formula(cells, _FORMULA_IN_DATA, name)
            if name == "data.extra":
                _all(_matches(cells, r"(?s)^\{.+\}$"), f"has no JSON object in {name}")
    ids = _one(table["eventId"])
    return _Keys(_microseconds(_one(table["timestamp"])), lambda rows: ids.take(pa.array(rows)))


def _check_column(kind: DataType, field: Field, cells: pa.Array) -> None:
    if not field.nullable:
        _all(_flags(cells.is_valid()), f"has no {field.name}")
    if cells.null_count == len(cells):
        return
    if field.name == "dataType":
        _all(_flags(pc.equal(cells, kind.name)), f"is not of type {kind.name}")
    elif field.name == "event" or field.values:
        names = list(kind.event) if field.name == "event" else list(field.values)
        _all(_flags(pc.is_in(cells, pa.array(names))), f"has another {field.name} than {', '.join(names)}")
    elif field.datetime:
        _all(_matches(cells, f"^{_INSTANT}$"), f"has a {field.name} that is no instant")
    elif field.type == "number":
        _all(_matches(cells, f"^{_NUMBER}$"), f"has a {field.name} that is no number")
    else:
        _no_formula(cells, _FORMULA, field.name)


def _no_formula(cells: pa.Array, pattern: str, name: str) -> None:
    # A look at the first bytes clears nearly all columns; a regex a cell costs several times as much.
    _, places, text = cells.buffers()
    offsets = np.frombuffer(places, np.int32)[cells.offset : cells.offset + len(cells) + 1]
    begins = offsets[:-1][offsets[1:] > offsets[:-1]]
    if len(begins) and _BEGINS_FORMULA[np.frombuffer(text, np.uint8)[begins]].any():
        found = pc.match_substring_regex(cells, pattern).fill_null(False)
        _all(~_flags(found), f"has a formula in {name}")


def _matches(cells: pa.Array, pattern: str) -> npt.NDArray[np.bool_]:
    """Whether each cell matches; a null does."""
    return _flags(pc.match_substring_regex(cells, pattern).fill_null(True))


def _flags(values: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(values.to_numpy(zero_copy_only=False), np.bool_)


def _all(right: npt.NDArray[np.bool_], text: str) -> None:
    if not right.all():
        raise _Wrong(text, int(np.argmin(right)) + 1)


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _ordered(keys: _Keys, defused: bool) -> Content:
    """The keys of rows, checked to rise strictly. ``defused``: ids that are formulas have a prefix."""
    us, ids = keys.us, keys.ids
    misplaced = None if keys.rise else _first_misplaced(us, ids, defused)
    one_day = us[0] // _DAY_US == us[-1] // _DAY_US
    days, counts = (us[:1] // _DAY_US, [len(us)]) if one_day else np.unique(us // _DAY_US, return_counts=True)
    ends = pa.concat_arrays([ids(np.array([0])), ids(np.array([len(us) - 1]))])
    unprefixed = meant(ends) if defused else ends
    first, last = (
        Key(int(us[end]), ends[end].as_py().encode(), unprefixed[end].as_py().encode()) for end in (0, -1)
    )
    return Content(
        len(us),
        first,
        last,
        {_EPOCH + timedelta(days=int(day)): int(count) for day, count in zip(days, counts, strict=True)},
        [] if misplaced is None else [_misplaced(misplaced)],
    )


def _first_misplaced(us: Longs, ids: Callable[[Longs], pa.Array], defused: bool) -> int | None:
    """The first row, from 1, that is not after the one before it."""
    steps = np.diff(us)
    wrong = np.flatnonzero(steps < 0)
    ties = np.flatnonzero(steps == 0)
    if len(ties):
        earlier, later = ids(ties), ids(ties + 1)
        # Each id is what is written or what that can mean, whatever its neighbour is.
        as_earlier, as_later = ([each, meant(each)] if defused else [each] for each in (earlier, later))
        rising = np.zeros(len(ties), np.bool_)
        for one, other in product(as_earlier, as_later):
            rising |= _flags(pc.less(one.cast(pa.binary()), other.cast(pa.binary())))
        wrong = np.sort(np.concatenate([wrong, ties[~rising]]))
    return int(wrong[0]) + 2 if len(wrong) else None


def meant(cells: pa.Array) -> pa.Array:
    """Cells of CSV without the prefix that makes formulas harmless; one that was written so loses it too."""
    return pc.replace_substring_regex(cells, r"^'([=+\-@\t\r])", r"\1")


def _microseconds(timestamps: pa.Array) -> Longs:
    moments = _moments(timestamps)
    if moments is None:
        right = 0
        for step in (1 << bit for bit in reversed(range(len(timestamps).bit_length()))):
            if _moments(timestamps[: right + step]) is not None:
                right += step
        raise _Wrong("has an instant that does not exist", right + 1)
    zero = pc.match_substring(timestamps, _ZERO_FRACTION)
    _all(~_flags(zero), f"has an instant with {_ZERO_FRACTION}")
    return np.asarray(moments.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)


def _moments(timestamps: pa.Array) -> pa.Array | None:
    try:
        return timestamps.cast(pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        return None


def _misplaced(row: int) -> Problem:
    return Problem("is not after the row before it, by timestamp and the bytes of eventId", row)
