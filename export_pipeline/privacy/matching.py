"""Finding people's ids in bytes and texts, and taking them out: the one owner of what a match is.

A match is an id as a whole value or token, that is not next to a letter, digit, ``_`` or ``-``, read plainly
or with JSON, URL, HTML or CSV escapes undone. An id of fewer than 6 characters is matched as a whole field
only: a whole value of a column, or a JSON string that is no key. An id that is a word of the catalogue, such
as ``impression``, says nothing but as the value of a key ``userId`` or ``deviceId``. Digits that are part of
a decimal number are no match.
"""

import hmac
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_pipeline.events.catalogue import vocabulary
from export_pipeline.privacy.candidates import Machine, in_every_form, needless_escapes
from export_pipeline.privacy.judging import Judge, Spans, merged

ERASED = b"[erased]"
"""What stands where an id stood."""

SHORT = 6
"""Ids of fewer characters are matched as whole fields only."""

_MARK_DIGITS = 16

Content: TypeAlias = bytes | bytearray | memoryview | pa.Buffer

_NAMED = rb'(?:userId|deviceId)\\*"{1,4}\s*:\s*\\*"{1,4}'
_ESCAPED = re.compile(rb"\\.", re.DOTALL)


class Needles:
    """The ids to be found; may be used by several threads and sent to other processes.

    ``key`` is the secret under which ``marks`` hashes.
    """

    def __init__(self, ids: Iterable[str], key: bytes = b"") -> None:
        self._ids = tuple(sorted({text for text in ids if text}))
        self._key = key
        known = vocabulary()
        words = [text for text in self._ids if text in known]
        short = [text for text in self._ids if len(text) < SHORT and text not in known]
        long = [text for text in self._ids if len(text) >= SHORT and text not in known]
        self._short = [text.encode() for text in short]
        self._judge = Judge(long, short, words)
        candidates = [
            *map(in_every_form, long),
            *(b'"' + in_every_form(text) + rb'\\*"' for text in short),
            *(_NAMED + in_every_form(text) + rb'\\*"' for text in words),
        ]
        escapes = needless_escapes(self._ids)
        self._machine = Machine(
            [*candidates, *([escapes] if escapes else [])], caseless=[len(candidates)] if escapes else []
        )
        self.reach = self._judge.reach
        """Bytes within which a match and its neighbours stand: pieces of a whole must overlap by as much."""

    def __reduce__(self) -> tuple[type["Needles"], tuple[tuple[str, ...], bytes]]:
        return Needles, (self._ids, self._key)

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
        return self._judge.anywhere(content)

    def spans(self, content: Content) -> Spans:
        """Where ``content`` holds matches."""
        view = np.frombuffer(content, np.uint8)
        hits = self._machine.hits(content)
        low, high = np.zeros_like(hits.ends), np.full_like(hits.ends, len(view))
        return merged(self._judge.matches(view, hits, low, high, fields=False))

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
            hits = self._machine.hits(content)
            rows = np.searchsorted(offsets, hits.ends - 1, "right") - 1
            view = np.frombuffer(content, np.uint8)
            found = self._judge.matches(view, hits, offsets[rows], offsets[rows + 1], fields=True)
        if self._short:
            binary = pa.large_binary() if wide else pa.binary()
            whole = pc.is_in(values.cast(binary), value_set=pa.array(self._short, binary))
            at = np.flatnonzero(whole.to_numpy(zero_copy_only=False))
            found = np.concatenate([found, np.stack([offsets[at], offsets[at + 1]], axis=1)])
        found = merged(found)
        rows = np.searchsorted(offsets, found[:, 0], "right") - 1
        known = values.is_valid().to_numpy(zero_copy_only=False)[rows]
        return rows[known], (found - offsets[rows][:, None])[known]

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

    def marks(self, values: pa.Array) -> pa.Array:
        """What tells values apart once ids in them are replaced: ``-`` and a keyed hash of each that holds a
        match, and an empty text for the others."""
        marks = np.full(len(values), "", object)
        for at in np.flatnonzero(self.mentioned(values)).tolist():
            value = values[at].as_py()
            text = value.encode() if isinstance(value, str) else value
            marks[at] = "-" + hmac.digest(self._key, text, "sha256").hex()[:_MARK_DIGITS]
        return pa.array(marks, pa.string()).cast(values.type)

    def redacted(self, text: str) -> str:
        """``text`` with ``[erased]`` for every match, fit to be shown."""
        said: bytes = self.replace(pa.array([os.fsencode(text)]))[0][0].as_py()
        return said.decode("utf-8", "backslashreplace")


def _chunks(values: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return values.chunks if isinstance(values, pa.ChunkedArray) else [values]


def _is_wide(kind: pa.DataType) -> bool:
    return bool(pa.types.is_large_string(kind) or pa.types.is_large_binary(kind))


def _erased(value: bytes, spans: Spans) -> bytes:
    parts, at, may_be_bare = list[bytes](), 0, _is_json(value)
    for start, end in spans.tolist():
        bare = may_be_bare and not _in_string(value[:start])
        parts += [value[at:start], b'"' + ERASED + b'"' if bare else ERASED]
        at = end
    return b"".join([*parts, value[at:]])


def _is_json(value: bytes) -> bool:
    """Whether a value is an object or array, so that what stands outside of its strings is a number."""
    if value[:1] not in (b"{", b"["):
        return False
    with suppress(ValueError, RecursionError):
        json.loads(value)
        return True
    return False


def _in_string(json_before: bytes) -> bool:
    return _ESCAPED.sub(b"", json_before).count(b'"') % 2 == 1
