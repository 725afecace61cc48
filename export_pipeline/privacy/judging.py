"""Deciding whether what a machine found is a match: neighbours, escapes, fields, numbers.

Most candidates are decided all at once by the bytes next to them; the others are read, in every reading.
"""

import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from export_pipeline.privacy.candidates import UNESCAPED, Hits, Machine
from export_pipeline.privacy.forms import Reading, readings

PIECE_BYTES = 1 << 14
"""Bytes around candidates that are read together, about."""

Spans: TypeAlias = NDArray[np.int64]
"""Where matches are: rows of start and end."""

_CLEAR, _WORD, _UNSURE = 0, 1, 2
_CLASSES = np.full(256, _CLEAR, np.uint8)
_CLASSES[[*b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"]] = _WORD
_CLASSES[128:] = _UNSURE
_ESCAPE_REACH = 7
_NEIGHBOUR_BYTES = 16
_KEY_ENDS = re.compile(rb'"\s*:')
_NAMED_BEFORE = re.compile(rb'"(?:userId|deviceId)"\s*:\s*"\Z')
_DIGIT_POINT = re.compile(rb"[0-9]\.")
_POINT_DIGIT = re.compile(rb"\.[0-9]")


class Judge:
    """Decides about candidates for ids: ``long`` ones are tokens, ``short`` ones fields, ``words`` named.

    A candidate is known by the position of its id in these three, one after the other; others are escapes.
    """

    def __init__(self, long: Sequence[str], short: Sequence[str], words: Sequence[str]) -> None:
        self._ids = [text.encode("utf-8", "surrogatepass") for text in (*long, *short, *words)]
        self._digits = np.array([text.isdigit() for text in self._ids], bool)
        self._long, self._short = len(long), len(short)
        self._plain = np.array([not UNESCAPED.sub("", text) for text in long], bool)
        self._lengths = np.array([len(text) for text in self._ids], np.int64)
        self._exact = Machine([re.escape(text) for text in self._ids])
        self.reach = 16 * max(map(len, self._ids), default=0) + 64
        """Bytes within which a match and its neighbours stand, whatever its form."""

    def anywhere(self, content: object) -> NDArray[np.int64]:
        """Where the plain long ids that are no numbers begin in ``content``, whatever their neighbours."""
        hits = self._exact.hits(content)
        telling = (hits.expressions < self._long) & ~self._digits[hits.expressions]
        starts: NDArray[np.int64] = hits.ends[telling] - self._lengths[hits.expressions[telling]]
        return starts

    def matches(self, view: NDArray[np.uint8], hits: Hits, low: Spans, high: Spans, *, fields: bool) -> Spans:
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
            for span in self._read(view[first:last].tobytes(), first, first == lower, last == upper, fields)
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

    def _read(
        self, piece: bytes, offset: int, begins: bool, ends: bool, fields: bool
    ) -> Iterator[tuple[int, int]]:
        """The matches in a piece; ``begins`` and ``ends`` say whether its text does where the piece does."""
        for reading in readings(piece):
            hits = self._exact.hits(reading.text)
            for expression, end in zip(hits.expressions.tolist(), hits.ends.tolist(), strict=True):
                start = end - len(self._ids[expression])
                # What is that near to where the piece was cut has neighbours that are not in it.
                within = (begins or start >= _NEIGHBOUR_BYTES) and (
                    ends or end <= len(reading.text) - _NEIGHBOUR_BYTES
                )
                whole = fields and begins and ends and start == 0 and end == len(reading.text)
                if within and self._is_match(reading, expression, start, end, whole):
                    yield offset + reading.starts[start], offset + reading.ends[end - 1]

    def _is_match(self, reading: Reading, expression: int, start: int, end: int, whole: bool) -> bool:
        text = reading.text
        if expression < self._long:
            before, after = text[max(start - 4, 0) : start], text[end : end + 4]
            if _is_word(_last_character(before)) or _is_word(_first_character(after)):
                return False
            return not (self._digits[expression] and _in_decimal(text, start, end))
        if expression >= self._long + self._short:
            named = _NAMED_BEFORE.search(text[max(start - 64, 0) : start])
            return named is not None and text[end : end + 1] == b'"'
        quoted = text[start - 1 : start] == text[end : end + 1] == b'"' and not _KEY_ENDS.match(text, end)
        return quoted or whole


def merged(spans: Spans) -> Spans:
    """``spans`` in order, those that overlap as one."""
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
