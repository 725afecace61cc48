"""The lines of rows, derived from the catalogue (contract, section 3).

Owns what JSONL looks like, and how lines of either format are put together: from pieces that are the same in
all rows, pieces that are one of few, and pieces of each row, joined by Arrow so that the bytes of its
arrays are the content of the file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.events.catalogue import DATA_TYPES, Field
from export_pipeline.exports import cells
from export_pipeline.exports.evaluating import evaluated
from export_pipeline.exports.request import Format

JOINED_ROWS = 4096
"""Lines made at once; their memory is used again for the next ones."""

_TEXT = pa.large_string()
_EPOCH = date(1970, 1, 1)
_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class _Column:
    """A piece of every line: the text of each row or, with ``places``, where in ``texts`` it is."""

    texts: pa.Array
    places: npt.NDArray[np.integer] | None = None

    def of(self, begin: int, end: int) -> pa.Array:
        if self.places is None:
            return self.texts.slice(begin, end - begin)
        return self.texts.take(pa.array(self.places[begin:end]))


_Piece = str | _Column


def header(data_type: str, format: Format) -> bytes:
    """What a file begins with before its first row: the CSV header; nothing for JSONL."""
    if format == "jsonl":
        return b""
    return (",".join(DATA_TYPES[data_type].csv_columns) + "\n").encode()


def lines(
    data_type: str, format: Format, rows: pa.Table, connection: duckdb.DuckDBPyConnection
) -> Iterator[pa.LargeStringArray]:
    """The line of each of ``rows``, newline included, a few thousand at a time.

    Args:
        rows: the incoming fields of the data type, texts as such or as dictionaries; at least one row.
        connection: evaluates what Arrow has no function for.
    """
    pieces: list[_Piece] = []
    for position, field in enumerate(DATA_TYPES[data_type].row_fields):
        between = "," if position else ""
        if format == "jsonl":
            pieces.append((between or "{") + f'"{field.name}":')
            pieces += _json(data_type, field, rows, connection)
        else:
            pieces.append(between)
            pieces += _csv(data_type, field, rows, connection)
    folded = list(_folded([*pieces, "}\n" if format == "jsonl" else "\n"]))
    for begin in range(0, len(rows), JOINED_ROWS):
        end = min(begin + JOINED_ROWS, len(rows))
        texts = [pa.scalar(p, _TEXT) if isinstance(p, str) else p.of(begin, end) for p in folded]
        yield pc.binary_join_element_wise(*texts, pa.scalar("", _TEXT))


def _json(
    data_type: str, field: Field, rows: pa.Table, connection: duckdb.DuckDBPyConnection
) -> Sequence[_Piece]:
    if field.name == "dataType":
        return [f'"{data_type}"']
    values = rows[field.name].combine_chunks()
    if field.datetime:
        return ['"', *_instant(values), '"']
    if field.type == "object":
        return [_Column(values.cast(_TEXT))]
    if field.type == "number":
        return [
            _Column(
                evaluated(
                    connection, "select coalesce(to_json(value)::varchar, 'null') from given", value=values
                )
            )
        ]
    texts, places = _texts(values)
    if _has_any(texts, '"\\', controls=True):
        escaped = evaluated(connection, "select to_json(value)::varchar from given", value=texts)
        return [_Column(*_or(escaped, places, "null"))]
    if places is None:
        return ['"', _Column(texts), '"']
    return [_Column(*_or(_joined('"', texts, '"'), places, "null"))]


def _csv(
    data_type: str, field: Field, rows: pa.Table, connection: duckdb.DuckDBPyConnection
) -> Sequence[_Piece]:
    if field.name == "dataType":
        return [data_type]
    values = rows[field.name].combine_chunks()
    if field.datetime:
        return _instant(values)
    if field.type == "object":
        query = cells.of_data(DATA_TYPES[data_type])
        return [_Column(evaluated(connection, query, event=rows["event"].combine_chunks(), data=values))]
    if field.type == "number":
        return [
            _Column(
                evaluated(connection, "select coalesce(to_json(value)::varchar, '') from given", value=values)
            )
        ]
    texts, places = _texts(values)
    if _has_any(texts, ',"\r\n') or _begins_unlike_plain(texts):
        texts = evaluated(connection, f"select {cells.of_text('value')} from given", value=texts)
    return [_Column(*_or(texts, places, ""))]


def _texts(values: pa.Array) -> tuple[pa.Array, npt.NDArray[np.integer] | None]:
    """The texts of a column and, if it is a dictionary of them, each row's place; null is after the last."""
    if not pa.types.is_dictionary(values.type):
        if not values.null_count:
            return values.cast(_TEXT), None
        values = values.dictionary_encode()
    texts = values.dictionary.cast(_TEXT)
    return texts, values.indices.fill_null(len(texts)).to_numpy()


def _or(
    texts: pa.Array, places: npt.NDArray[np.integer] | None, null: str
) -> tuple[pa.Array, npt.NDArray[np.integer] | None]:
    return texts if places is None else pa.concat_arrays([texts, pa.array([null], _TEXT)]), places


def _instant(values: pa.Array) -> Sequence[_Piece]:
    # Clocks are looked up: to format each costs several times as much.
    us = values.cast(pa.int64()).to_numpy()
    day, within = np.divmod(us, _DAY_US)
    seconds, rest = np.divmod(within, 1_000_000)
    clock = _Column(_clock(), seconds), _Column(_fractions(), rest // 1000)
    first, last = int(day.min()), int(day.max())
    if first == last:
        return [_date(first), *clock]
    days, places = np.arange(first, last + 1), day - first
    if len(days) > len(day):
        days, places = np.unique(day, return_inverse=True)
    return [_Column(pa.array(map(_date, days.tolist()), _TEXT), places), *clock]


def _date(day: int) -> str:
    return f"{_EPOCH + timedelta(days=day)}T"


@cache
def _clock() -> pa.Array:
    seconds = np.arange(86_400).astype("M8[s]").astype(str)
    return pa.array([text[11:] for text in seconds.tolist()], _TEXT)


@cache
def _fractions() -> pa.Array:
    return pa.array(["Z", *(f".{millisecond:03d}Z" for millisecond in range(1, 1000))], _TEXT)


def _folded(pieces: Sequence[_Piece]) -> Iterator[_Piece]:
    """The same lines from fewer pieces: constants are made part of their neighbours, where those are few."""
    text, held = "", None
    for piece in pieces:
        if isinstance(piece, str):
            text += piece
        elif piece.places is None:
            yield from _put_together(held, text)
            yield piece
            text, held = "", None
        elif held is None:
            text, held = "", _Column(_joined(text, piece.texts, ""), piece.places)
        else:
            yield from _put_together(held, text)
            text, held = "", piece
    yield from _put_together(held, text)


def _put_together(column: _Column | None, text: str) -> Iterator[_Piece]:
    if column:
        yield _Column(_joined("", column.texts, text), column.places)
    elif text:
        yield text


def _joined(before: str, texts: pa.Array, after: str) -> pa.Array:
    if not before and not after:
        return texts
    around = pa.scalar(before, _TEXT), texts, pa.scalar(after, _TEXT)
    return pc.binary_join_element_wise(*around, pa.scalar("", _TEXT))


def _has_any(texts: pa.Array, characters: str, controls: bool = False) -> bool:
    """Whether one of ``characters``, or a control character, is anywhere in the texts."""
    octets = _octets(texts)
    found = controls and bool((octets < ord(" ")).any())
    return found or any(bool((octets == ord(character)).any()) for character in characters)


def _begins_unlike_plain(texts: pa.Array) -> bool:
    """Whether a text is empty, or begins with anything but a letter or a digit."""
    offsets = _offsets(texts)
    if not len(texts):
        return False
    if (offsets[1:] == offsets[:-1]).any():
        return True
    return not _PLAIN[np.frombuffer(texts.buffers()[2], np.uint8)[offsets[:-1]]].all()


_PLAIN = np.array([chr(octet).isalnum() and octet < 128 for octet in range(256)])


def _octets(texts: pa.Array) -> npt.NDArray[np.uint8]:
    offsets, content = _offsets(texts), texts.buffers()[2]
    return np.frombuffer(content, np.uint8)[offsets[0] : offsets[-1]] if content else np.empty(0, np.uint8)


def _offsets(texts: pa.Array) -> npt.NDArray[np.int64]:
    return np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
