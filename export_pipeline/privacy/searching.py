"""Searching what a reader hands over, and counting: bytes, matches left, and matches of a later use.

An erased id may be used again. What came after the erasure is told by the sequence number of its batch, by
when it was taken, or by its own instant; matches in it are counted apart, they are nothing that was left.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_pipeline.privacy.matching import Needles

WINDOW_BYTES = 1 << 23
"""Bytes searched at a time."""

INSTANTS = ("timestamp", "createdAt", "linkedAt", "assignedAt", "takenAt")
"""The columns and keys that say when something happened, the first one there is."""

SEQUENCE = "batchSequence"

_MOST_WINDOWS = 16


class Unsearchable(Exception):
    """A file cannot be searched; the text says why and holds nothing of what is in it."""


@dataclass(frozen=True)
class Found:
    """What a search came upon: files, bytes once decoded, matches left, and matches of a later use."""

    files: int = 0
    bytes: int = 0
    matches: int = 0
    later: int = 0

    @property
    def hits(self) -> int:
        """All matches, whatever they are."""
        return self.matches + self.later

    def __add__(self, other: "Found") -> "Found":
        """Both together."""
        return Found(
            self.files + other.files,
            self.bytes + other.bytes,
            self.matches + other.matches,
            self.later + other.later,
        )


@dataclass(frozen=True)
class Erased:
    """Whom to search for, and after what they may come again.

    ``at`` is the instant (UTC) up to which their events are refused, ``watermark`` the last batch before it.
    """

    needles: Needles
    at: datetime
    watermark: int


@dataclass
class Search:
    """The search of one file. ``since``: whether the file itself came after the erasure."""

    erased: Erased
    since: bool = False
    found: Found = field(default_factory=lambda: Found(files=1))

    def _note(self, size: int, matches: int = 0, later: int = 0) -> None:
        if self.since:
            matches, later = 0, matches + later
        self.found += Found(0, size, matches, later)

    def name(self, name: str | PurePath) -> None:
        """Search a file's name."""
        self.content(str(name).encode("utf-8", "surrogateescape"))

    def content(self, content: bytes | bytearray | memoryview) -> None:
        """Search bytes that are a whole."""
        self._note(len(content), self.erased.needles.count(content))

    def text(self, read: Callable[[int], bytes]) -> None:
        """Search what ``read`` gives until it gives nothing, in windows."""
        needles, margin = self.erased.needles, self.erased.needles.reach
        held, judged = b"", 0
        while True:
            chunk = read(WINDOW_BYTES)
            window = held + chunk
            until = len(window) - margin if chunk else len(window)
            if until > judged or not chunk:
                starts = needles.spans(window)[:, 0]
                self._note(len(chunk), int(np.count_nonzero((starts >= judged) & (starts < until))))
                kept = max(until - margin, 0)
                held, judged = window[kept:], until - kept
            else:
                self._note(len(chunk))
                held = window
            if not chunk:
                return

    def remains(self, content: bytes, unused: Callable[[int], bool]) -> None:
        """Search bytes that run into each other; a match counts where ``unused`` of its offset is true."""
        self._note(len(content), sum(map(unused, self.erased.needles.anywhere(content).tolist())))

    def lines(self, read: Callable[[int], bytes]) -> None:
        """Search JSON lines; those that say that they happened after the erasure are a later use."""
        parts: list[bytes] = []
        while chunk := read(WINDOW_BYTES):
            end = chunk.rfind(b"\n") + 1
            if not end:
                parts.append(chunk)
                if len(parts) > _MOST_WINDOWS:
                    raise Unsearchable("it has a line of more bytes than any row can have")
                continue
            self._whole_lines(b"".join([*parts, chunk[:end]]))
            parts = [chunk[end:]]
        self._whole_lines(b"".join(parts))

    def _whole_lines(self, content: bytes) -> None:
        matches = later = 0
        for start in self.erased.needles.spans(content)[:, 0].tolist():
            line = content[content.rfind(b"\n", 0, start) + 1 : _end_of_line(content, start)]
            if self._is_later(line):
                later += 1
            else:
                matches += 1
        self._note(len(content), matches, later)

    def _is_later(self, line: bytes) -> bool:
        with suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict):
                said = next((row[key] for key in INSTANTS if key in row), None)
                instant = datetime.fromisoformat(said) if isinstance(said, str) else None
                return instant is not None and instant.tzinfo is not None and instant > self.erased.at
        return False

    def rows(self, batch: pa.RecordBatch) -> None:
        """Search the texts of rows; those of later batches, or taken later, are a later use."""
        hits = []
        for column in batch.columns:
            size, rows = self._column(column)
            self._note(size)
            if len(rows):
                hits.append(rows)
        if hits:
            rows = np.concatenate(hits)
            later = int(np.count_nonzero(self._later_rows(batch)[rows]))
            self._note(0, len(rows) - later, later)

    def values(self, values: pa.Array) -> None:
        """Search texts or bytes that are each a whole value."""
        size, rows = self._column(values)
        self._note(size, len(rows))

    def _column(self, column: pa.Array) -> tuple[int, NDArray[np.int64]]:
        """The bytes of a column's texts, and the row of each match in them."""
        kind = column.type
        none = np.zeros(0, np.int64)
        if pa.types.is_dictionary(kind):
            size, entries = self._column(column.dictionary)
            if not len(entries):
                return size, none
            times = np.bincount(entries, minlength=len(column.dictionary))
            codes = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
            known = column.indices.is_valid().to_numpy(zero_copy_only=False)
            # An entry that no row has is still there.
            self._note(0, int(times.sum() - times[np.unique(codes[known])].sum()))
            return size, np.repeat(np.arange(len(column)), np.where(known, times[codes], 0))
        if _is_text(kind):
            if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
                column = column.cast(pa.large_binary())
            elif pa.types.is_fixed_size_binary(kind):
                column = column.cast(pa.binary())
            return pc.sum(pc.binary_length(column)).as_py() or 0, self.erased.needles.spans_in_values(column)[
                0
            ]
        if pa.types.is_map(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
            inner = (
                pa.StructArray.from_arrays([column.keys, column.items], ["key", "value"])
                if (pa.types.is_map(kind))
                else column.values
            )
            size, entries = self._column(inner)
            offsets = column.offsets.to_numpy()
            return size, np.searchsorted(offsets, entries, "right") - 1
        if pa.types.is_struct(kind):
            parts = [self._column(part) for part in column.flatten()]
            return sum(size for size, _ in parts), np.concatenate([none, *(rows for _, rows in parts)])
        return 0, none

    def _later_rows(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        names = batch.schema.names
        if SEQUENCE in names:
            later = pc.greater(batch[SEQUENCE], self.erased.watermark)
        elif (name := next((name for name in INSTANTS if name in names), None)) and pa.types.is_timestamp(
            batch.schema.field(name).type
        ):
            later = pc.greater(
                batch[name], pa.scalar(self.erased.at.astimezone(UTC), batch.schema.field(name).type)
            )
        else:
            return np.zeros(batch.num_rows, bool)
        flags: NDArray[np.bool_] = later.fill_null(False).to_numpy(zero_copy_only=False)
        return flags


def _is_text(kind: pa.DataType) -> bool:
    tests = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )
    return any(test(kind) for test in tests)


def holds_text(kind: pa.DataType) -> bool:
    """Whether values of this type are, or hold, texts or bytes."""
    if pa.types.is_dictionary(kind):
        return holds_text(kind.value_type)
    if pa.types.is_nested(kind):
        return any(holds_text(kind.field(i).type) for i in range(kind.num_fields))
    return _is_text(kind)


def _end_of_line(content: bytes, start: int) -> int:
    end = content.find(b"\n", start)
    return len(content) if end < 0 else end
