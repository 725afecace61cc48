"""The lines of rows, derived from the catalogue (contract, section 3).

Owns what a line of JSONL and of CSV is made of: texts that are the same in all lines, and between them the
value of each column, which ``joining`` writes from where it was decoded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from types import ModuleType

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.events.catalogue import DATA_TYPES, DataType, Field
from export_pipeline.exports import cells
from export_pipeline.exports.evaluating import evaluated
from export_pipeline.exports.request import Format
from export_pipeline.exports.scratch import Scratch

Longs = npt.NDArray[np.int64]

_SOME_ROWS = 4096
_NO_END = 1 << 62
_NULL: Mapping[Format, str] = {"jsonl": "null", "csv": ""}


@dataclass(frozen=True)
class Rows:
    """Rows of ``tables``, counted through all of them, in ``order``; ``us`` are their instants in that order.

    The tables have the same columns, texts as such or as dictionaries. Instants are in microseconds since
    1970.
    """

    tables: Sequence[pa.Table]
    order: Longs
    us: Longs

    def __len__(self) -> int:
        return len(self.order)


class Lines:
    """The lines of rows, to be written a few or many at a time.

    Args:
        literals: what stands before each column of a line, and after the last one.
        columns: those of each table of ``rows``.
    """

    def __init__(self, rows: Rows, literals: Sequence[str], columns: Sequence[Sequence["_Column"]]) -> None:
        texts = [text.encode() for text in literals]
        self._order = rows.order
        self._begins = np.cumsum([0, *map(len, rows.tables)], dtype=np.int64)
        self._literals = np.frombuffer(b"".join(texts), np.uint8)
        self._literals_at = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        self._known = np.array([[column.known for column in each] for each in columns], np.int64)
        self._memory = columns

    def write(self, row: int, stop: int, scratch: Scratch, enough: int = _NO_END) -> int:
        """Add the lines of rows from ``row`` on to ``scratch``; the first row that is not added.

        None is added from ``stop`` on, and none once ``scratch`` holds ``enough`` bytes.
        """
        while row < stop and scratch.size < enough:
            address = scratch.address
            row, end = _joining().join(
                self._order, row, stop, self._begins, self._known, self._literals.ctypes.data,
                self._literals_at, address + scratch.size, address + scratch.room, address + enough,
            )  # fmt: skip
            scratch.size = end - address
            if row < stop and scratch.size < enough:
                scratch.grow()
        return row


def get_ready() -> None:
    """Load what writes lines, which takes half a second once a process."""
    nothing = np.zeros(0, np.int64)
    _joining().join(nothing, 0, 0, nothing, nothing.reshape(0, 0, 8), 0, np.zeros(2, np.int64), 0, 0, 0)


def in_their_order(tables: Sequence[pa.Table]) -> Rows:
    """The rows of ``tables`` one after the other."""
    us = np.concatenate([instants(rows) for rows in tables])
    return Rows(tables, np.arange(len(us)), us)


def instants(rows: pa.Table) -> Longs:
    """When each of ``rows`` happened, in microseconds since 1970."""
    return np.asarray(rows["timestamp"].cast(pa.int64()).to_numpy(), np.int64)


def header(data_type: str, format: Format) -> bytes:
    """What a file begins with before its first row: the CSV header; nothing for JSONL."""
    if format == "jsonl":
        return b""
    return (",".join(DATA_TYPES[data_type].csv_columns) + "\n").encode()


def lines(data_type: str, format: Format, rows: Rows, connection: duckdb.DuckDBPyConnection) -> Lines:
    """The line of each of ``rows``, newline included.

    Args:
        rows: the incoming fields of the data type; at least one row.
        connection: evaluates what is not written byte by byte.
    """
    kind = DATA_TYPES[data_type]
    columns = [
        _columns(kind, field, format, [_whole(table[field.name]) for table in rows.tables], connection)
        for field in kind.incoming_fields
    ]
    return Lines(rows, _literals(kind, format), list(zip(*columns, strict=True)))


def ready_lines(rows: Rows) -> Lines:
    """Lines that are there already, in a column ``line``."""
    return Lines(
        rows, ("", ""), [[_as_it_lies(_joining().RAW, _whole(table["line"]))] for table in rows.tables]
    )


def contents(
    data_type: str, format: Format, rows: Rows, connection: duckdb.DuckDBPyConnection
) -> Iterator[bytes]:
    """The bytes of the lines of ``rows``, of some thousand at a time; see ``lines``."""
    made, scratch, row = lines(data_type, format, rows, connection), Scratch(), 0
    while row < len(rows):
        row = made.write(row, min(row + _SOME_ROWS, len(rows)), scratch)
        yield bytes(scratch.written())
        scratch.size = 0


def _literals(kind: DataType, format: Format) -> Sequence[str]:
    literals = [""]
    for place, field in enumerate(kind.row_fields):
        quote = '"' if format == "jsonl" and field.datetime else ""
        literals[-1] += "," if place else ""
        if format == "jsonl":
            literals[-1] += f'{"" if place else "{"}"{field.name}":{quote}'
        if field.name == "dataType":
            literals[-1] += f'"{kind.name}"' if format == "jsonl" else kind.name
        else:
            literals.append(quote)
    literals[-1] += "}\n" if format == "jsonl" else "\n"
    return literals


@dataclass(frozen=True)
class _Column:
    """What ``joining`` is told of a column, and the memory that lies in."""

    known: Sequence[int]
    memory: object


def _whole(values: pa.ChunkedArray) -> pa.Array:
    return values.chunk(0) if values.num_chunks == 1 else values.unify_dictionaries().combine_chunks()


def _columns(
    kind: DataType,
    field: Field,
    format: Format,
    values: Sequence[pa.Array],
    connection: duckdb.DuckDBPyConnection,
) -> Sequence[_Column]:
    """A field of each table; what has to be evaluated is, in one go."""
    joining = _joining()
    if field.datetime:
        return [_as_it_lies(joining.INSTANT, each) for each in values]
    if field.type == "object":
        if format == "csv":
            return _data_cells(kind, values, connection)
        return [_as_it_lies(joining.RAW, each) for each in values]
    if field.type == "number":
        query = f"select coalesce(to_json(value)::varchar, '{_NULL[format]}') from given"
        texts = evaluated(connection, query, value=pa.chunked_array(values))
        begins = np.cumsum([0, *map(len, values)]).tolist()
        return [_as_it_lies(joining.RAW, texts.slice(begin, end - begin)) for begin, end in pairwise(begins)]
    return [_as_it_lies(_way(each, format), each) for each in values]


def _as_it_lies(way: int, values: pa.Array) -> _Column:
    """The texts or instants of an Arrow array; ``way`` is how they are written."""
    texts, places, valid = values, 0, 0
    if pa.types.is_dictionary(values.type):
        texts, values = values.dictionary, values.indices.cast(pa.int32())
        places = values.buffers()[1].address + 4 * values.offset
    if values.null_count:
        valid = values.buffers()[0].address
    begin, width, content = _where(texts)
    return _Column((way, begin, begin + width, width, content, places, valid, values.offset), (texts, values))


def _where(values: pa.Array) -> tuple[int, int, int]:
    """The address of where the first value begins, or is; the bytes of that; the address of the texts."""
    width = 4 if values.type == pa.string() else 8
    _, begins, *content = values.buffers()
    return begins.address + width * values.offset, width, content[0].address if any(content) else 0


def _way(values: pa.Array, format: Format) -> int:
    """How the texts of a column are written: most hold nothing that needs care."""
    joining = _joining()
    texts = values.dictionary if pa.types.is_dictionary(values.type) else values
    begin, width, content = _where(texts)
    if joining.are_clean(begin, width, len(texts), content, format == "csv"):
        return int(joining.QUOTED if format == "jsonl" else joining.RAW)
    return int(joining.ESCAPED if format == "jsonl" else joining.CELL)


def _data_cells(
    kind: DataType, data: Sequence[pa.Array], connection: duckdb.DuckDBPyConnection
) -> Sequence[_Column]:
    """``data`` as cells. SQL evaluates what is not ``simple`` to ``joining``, such as long numbers."""
    written = [_Cells(kind, each) for each in data]
    others = [each.filter(pa.array(~done.simple)) for each, done in zip(data, written, strict=True)]
    texts = pa.array([], pa.large_string())
    if any(map(len, others)):
        texts = evaluated(connection, cells.of_data(kind), data=pa.chunked_array(others))
    begin = 0
    for each, done in zip(others, written, strict=True):
        done.add(texts.slice(begin, len(each)))
        begin += len(each)
    return [_Column(done.known, (done, texts)) for done in written]


class _Cells:
    """The cells of objects, in memory of their own; those that are not ``simple`` are left out."""

    def __init__(self, kind: DataType, objects: pa.Array) -> None:
        rows = len(objects)
        names, names_at = _names(kind)
        begin, width, content = _where(objects)
        self._starts, self._ends = np.empty((2, rows), np.int64)
        self.simple = np.empty(rows, np.bool_)
        longest = 2 * (pc.sum(pc.binary_length(objects)).as_py() or 0) + rows * (2 * len(names_at) + 4)
        self._memory = np.empty(longest, np.uint8)
        self._address = self._memory.ctypes.data
        _joining().join_cells(
            rows, begin, width, content, names.ctypes.data, names_at,
            self._address, self._starts, self._ends, self.simple,
        )  # fmt: skip

    def add(self, texts: pa.Array) -> None:
        """Take the cells that were left out from where they lie."""
        if len(texts):
            content = _where(texts)[2]
            places = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :][: len(texts) + 1]
            places = places + content - self._address
            self._starts[~self.simple], self._ends[~self.simple] = places[:-1], places[1:]

    @property
    def known(self) -> Sequence[int]:
        """What ``joining`` is told of them."""
        return _joining().RAW, self._starts.ctypes.data, self._ends.ctypes.data, 8, self._address, 0, 0, 0


@cache
def _names(kind: DataType) -> tuple[npt.NDArray[np.uint8], Longs]:
    """What stands between the first quote and the value of each field of ``data``."""
    names = [f'{name}":'.encode() for name in kind.data_fields]
    return np.frombuffer(b"".join(names), np.uint8), np.cumsum([0, *map(len, names)], dtype=np.int64)


@cache
def _joining() -> ModuleType:
    # Compiling is dear to import, and not every process writes lines.
    from export_pipeline.exports import joining

    return joining
