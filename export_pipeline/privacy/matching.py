"""Finding people's ids in bytes and texts, and taking them out: the one owner of what a match is.

A match is an id as a whole value or token, that is not next to a letter, digit, ``_`` or ``-``, read plainly
or with JSON, URL, HTML or CSV escapes undone. An id of fewer than 6 characters is matched as a whole field
only: a whole value of a column, or a JSON string that is no key. An id that is a word of the catalogue, such
as ``impression``, says nothing but as the value of a key ``userId`` or ``deviceId``. Digits that are part of
a decimal number are no match.
"""

import os
import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_pipeline.events.catalogue import vocabulary
from export_pipeline.privacy.candidates import UNESCAPED, Hits, Machine, in_every_form, needless_escapes
from export_pipeline.privacy.forms import Reading, readings

ERASED = b"[erased]"
"""What stands where an id stood."""

SHORT = 6
"""Ids of fewer characters are matched as whole fields only."""

PIECE_BYTES = 1 << 14
"""Bytes around candidates that are read together, about."""

Content: TypeAlias = bytes | bytearray | memoryview | pa.Buffer
Spans: TypeAlias = NDArray[np.int64]
"""Where matches are: rows of start and end, in order, none overlapping another."""

_CLEAR, _WORD, _UNSURE = 0, 1, 2
_CLASSES = np.full(256, _CLEAR, np.uint8)
_CLASSES[[*b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"]] = _WORD
_CLASSES[128:] = _UNSURE
_ESCAPE_REACH = 7
_KEY_ENDS = re.compile(rb'"\s*:')
_NAMED = rb'(?:userId|deviceId)\\*"{1,4}\s*:\s*\\*"{1,4}'
_NAMED_BEFORE = re.compile(rb'"(?:userId|deviceId)"\s*:\s*"\Z')
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_DIGIT_POINT = re.compile(rb"[0-9]\.")
_POINT_DIGIT = re.compile(rb"\.[0-9]")


class Needles:
    """The ids to be found; may be used by several threads and sent to other processes."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = tuple(sorted({text for text in ids if text}))
        words = vocabulary()
        long = [text for text in self._ids if len(text) >= SHORT and text not in words]
        self._short = [text for text in self._ids if len(text) < SHORT and text not in words]
        self._words = [text for text in self._ids if text in words]
        self._all = [text.encode("utf-8", "surrogatepass") for text in (*long, *self._short, *self._words)]
        self._digits = [text.isdigit() for text in self._all]
        self._long = len(long)
        # What is found of these is a match if its neighbours are clear; all else is read first.
        self._plain = np.array([not UNESCAPED.sub("", text) for text in long], bool)
        self._lengths = np.array([len(text) for text in self._all], np.int64)
        candidates = [
            *map(in_every_form, long),
            *(b'"' + in_every_form(text) + rb'\\*"' for text in self._short),
            *(_NAMED + in_every_form(text) + rb'\\*"' for text in self._words),
        ]
        escapes = needless_escapes(self._ids)
        self._candidates = Machine(
            [*candidates, *([escapes] if escapes else [])], caseless=[len(candidates)] if escapes else []
        )
        self._exact = Machine([re.escape(text) for text in self._all])
        self.reach = 16 * max(map(len, self._all), default=0) + 64
        """Bytes within which a match and its neighbours stand: pieces of a whole must overlap by as much."""

    def __reduce__(self) -> tuple[type["Needles"], tuple[tuple[str, ...]]]:
        return Needles, (self._ids,)

    def __repr__(self) -> str:
        return f"Needles({len(self._ids)} ids)"

    @property
    def has_short(self) -> bool:
        """Whether there are ids that are matched as whole fields only."""
        return bool(self._short)

    def __len__(self) -> int:
        return len(self._ids)

    def occurs(self, content: Content) -> bool:
        """Whether ``content`` holds a match."""
        return self.count(content) > 0

    def count(self, content: Content) -> int:
        """How many matches ``content`` holds."""
        return len(self.spans(content))

    def anywhere(self, content: Content) -> NDArray[np.int64]:
        """Where the plain ids that no number could be begin in ``content``, whatever their neighbours.

        For bytes in which values stand next to each other without anything between.
        """
        hits = self._exact.hits(content)
        telling = (hits.expressions < self._long) & ~np.array(self._digits, bool)[hits.expressions]
        starts: NDArray[np.int64] = hits.ends[telling] - self._lengths[hits.expressions[telling]]
        return starts

    def spans(self, content: Content) -> Spans:
        """Where ``content`` holds matches."""
        view = np.frombuffer(content, np.uint8)
        hits = self._candidates.hits(content)
        low, high = np.zeros_like(hits.ends), np.full_like(hits.ends, len(view))
        return _merged(self._judged(view, hits, low, high, fields=False))

    def spans_in_values(self, values: pa.Array) -> tuple[NDArray[np.int64], Spans]:
        """Where string or binary values hold matches: the row of each, and where in its value."""
        if not len(values):
            return np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
        wide = _is_wide(values.type)
        _, offset_buffer, data = values.buffers()
        offsets = np.frombuffer(offset_buffer, np.int64 if wide else np.int32).astype(np.int64)
        offsets = offsets[values.offset : values.offset + len(values) + 1]
        first, last = int(offsets[0]), int(offsets[-1])
        offsets = offsets - first
        found = np.zeros((0, 2), np.int64)
        if last > first:
            content = memoryview(data)[first:last]
            hits = self._candidates.hits(content)
            rows = np.searchsorted(offsets, hits.ends - 1, "right") - 1
            view = np.frombuffer(content, np.uint8)
            found = self._judged(view, hits, offsets[rows], offsets[rows + 1], fields=True)
        if self._short:
            binary = pa.large_binary() if wide else pa.binary()
            short = pa.array([text.encode() for text in self._short], binary)
            whole = pc.is_in(values.cast(binary), value_set=short)
            at = np.flatnonzero(whole.to_numpy(zero_copy_only=False))
            found = np.concatenate([found, np.stack([offsets[at], offsets[at + 1]], axis=1)])
        found = _merged(found)
        rows = np.searchsorted(offsets, found[:, 0], "right") - 1
        known = values.is_valid().to_numpy(zero_copy_only=False)[rows]
        return rows[known], (found - offsets[rows][:, None])[known]

    def count_in_values(self, values: pa.Array | pa.ChunkedArray) -> int:
        """How many matches the values hold."""
        return sum(len(self.spans_in_values(chunk)[0]) for chunk in _chunks(values))

    def mentioned(self, values: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
        """Of each value whether it holds a match."""
        return np.concatenate([np.zeros(0, bool), *map(self._mentioned, _chunks(values))])

    def _mentioned(self, values: pa.Array) -> NDArray[np.bool_]:
        mask = np.zeros(len(values), bool)
        mask[self.spans_in_values(values)[0]] = True
        return mask

    def replace(self, values: pa.Array | pa.ChunkedArray) -> tuple[pa.ChunkedArray, int]:
        """The values with ``[erased]`` for every match, and how many there were.

        A number that is a match in JSON becomes a string, so that JSON stays JSON.
        """
        chunks, replaced = [], 0
        for chunk in _chunks(values):
            rows, spans = self.spans_in_values(chunk)
            replaced += len(rows)
            if len(rows):
                changed, first = np.unique(rows, return_index=True)
                kind = pa.large_binary() if _is_wide(chunk.type) else pa.binary()
                old = chunk.take(pa.array(changed)).cast(kind).to_pylist()
                new = map(_erased, old, np.split(spans, first[1:]))
                mask = np.zeros(len(chunk), bool)
                mask[changed] = True
                chunk = pc.replace_with_mask(chunk, mask, pa.array(new, kind).cast(chunk.type))
            chunks.append(chunk)
        return pa.chunked_array(chunks, values.type), replaced

    def redacted(self, text: str) -> str:
        """``text`` with ``[erased]`` for every match, fit to be shown."""
        said: bytes = self.replace(pa.array([os.fsencode(text)]))[0][0].as_py()
        return said.decode("utf-8", "backslashreplace")

    def _judged(self, view: NDArray[np.uint8], hits: Hits, low: Spans, high: Spans, *, fields: bool) -> Spans:
        """The matches among ``hits``, each of which stands in a text of its own, ``view[low:high]``.

        Args:
            fields: whether such a text is a field, so that its ends are ends of a value.
        """
        if not len(hits.ends):
            return np.zeros((0, 2), np.int64)
        plain = np.zeros(len(hits.ends), bool)
        long = hits.expressions < self._long
        plain[long] = self._plain[hits.expressions[long]]
        start = hits.ends - self._lengths[np.where(plain, hits.expressions, 0)]
        plain &= start >= low
        before = np.where(plain & (start > low), view[np.maximum(start - 1, 0)], ord(" "))
        after = np.where(plain & (hits.ends < high), view[np.minimum(hits.ends, len(view) - 1)], ord(" "))
        match = plain & (_CLASSES[before] == _CLEAR) & (_CLASSES[after] == _CLEAR)
        match &= (before != ord(".")) & (after != ord("."))
        escaped = np.zeros(len(hits.ends), bool)
        for back in range(2, _ESCAPE_REACH + 1):
            near = view[np.maximum(start - back, 0)]
            escaped |= (start - back >= low) & ((near == ord("\\")) | (near == ord("%")))
        refused = plain & ((_CLASSES[after] == _WORD) | ((_CLASSES[before] == _WORD) & ~escaped))
        unsure = np.flatnonzero(~match & ~refused)
        sure = np.stack([start[match], hits.ends[match]], axis=1)
        read = [
            span
            for first, last, lower, upper in self._pieces(hits.ends[unsure], low[unsure], high[unsure])
            for span in self._read(
                view[first:last].tobytes(), first, fields and first == lower, fields and last == upper
            )
        ]
        return np.concatenate([sure, np.array(read, np.int64).reshape(-1, 2)])

    def _pieces(self, ends: Spans, low: Spans, high: Spans) -> Iterator[tuple[int, int, int, int]]:
        piece: tuple[int, int, int, int] | None = None
        for end, lower, upper in sorted(zip(ends.tolist(), low.tolist(), high.tolist(), strict=True)):
            first, last = max(lower, end - self.reach), min(upper, end + self.reach)
            if piece and piece[2] == lower and first <= piece[1] and last - piece[0] <= PIECE_BYTES:
                piece = (piece[0], max(piece[1], last), lower, upper)
                continue
            if piece:
                yield piece
            piece = (first, last, lower, upper)
        if piece:
            yield piece

    def _read(self, piece: bytes, offset: int, begins: bool, ends: bool) -> Iterator[tuple[int, int]]:
        for reading in readings(piece):
            hits = self._exact.hits(reading.text)
            for expression, end in zip(hits.expressions.tolist(), hits.ends.tolist(), strict=True):
                start = end - len(self._all[expression])
                if self._matches(reading, expression, start, end, begins, ends):
                    yield offset + reading.starts[start], offset + reading.ends[end - 1]

    def _matches(
        self, reading: Reading, expression: int, start: int, end: int, begins: bool, ends: bool
    ) -> bool:
        text = reading.text
        if expression < self._long:
            if _is_word(_last_character(text[max(start - 4, 0) : start])) or _is_word(
                _first_character(text[end : end + 4])
            ):
                return False
            return not (self._digits[expression] and _in_decimal(text, start, end))
        if expression >= self._long + len(self._short):
            named = _NAMED_BEFORE.search(text[max(start - 64, 0) : start])
            return named is not None and text[end : end + 1] == b'"'
        quoted = text[start - 1 : start] == text[end : end + 1] == b'"' and not _KEY_ENDS.match(text, end)
        return quoted or (begins and ends and start == 0 and end == len(text))


def _chunks(values: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return values.chunks if isinstance(values, pa.ChunkedArray) else [values]


def _is_wide(kind: pa.DataType) -> bool:
    return bool(pa.types.is_large_string(kind) or pa.types.is_large_binary(kind))


def _erased(value: bytes, spans: Spans) -> bytes:
    parts, at = list[bytes](), 0
    for start, end in spans.tolist():
        bare = value[:1] in (b"{", b"[") and not _in_string(value[:start])
        parts += [value[at:start], b'"' + ERASED + b'"' if bare else ERASED]
        at = end
    return b"".join([*parts, value[at:]])


def _in_string(json_before: bytes) -> bool:
    return _ESCAPED.sub(b"", json_before).count(b'"') % 2 == 1


def _merged(spans: Spans) -> Spans:
    if len(spans) < 2:
        return spans
    spans = spans[np.lexsort((spans[:, 1], spans[:, 0]))]
    furthest = np.maximum.accumulate(spans[:, 1])
    begins = np.concatenate([[True], spans[1:, 0] >= furthest[:-1]])
    return np.stack([spans[begins, 0], furthest[np.append(np.flatnonzero(begins)[1:] - 1, -1)]], axis=1)


def _is_word(character: str) -> bool:
    return character.isalnum() or character in ("_", "-")


def _last_character(content: bytes) -> str:
    while content and 0x80 <= content[0] < 0xC0:
        content = content[1:]
    return content.decode("utf-8", "replace")[-1:]


def _first_character(content: bytes) -> str:
    return content.decode("utf-8", "replace")[:1]


def _in_decimal(text: bytes, start: int, end: int) -> bool:
    before, after = text[max(start - 2, 0) : start], text[end : end + 2]
    return bool(_DIGIT_POINT.fullmatch(before) or _POINT_DIGIT.fullmatch(after))
