"""The quick way for lines of the common form: one search tells that no rule about the form rejects a line.

Most lines are written by a few programs and have the same keys in the same order, with flat ``data``. Such
forms are learned from the lines at hand; a line that fits one is compared with it whole, which is cheaper
than asking every question of every line. A line that fits none goes the long way, by ``parsing`` and
``validation``, which alone decide what is rejected and why. What is accepted here would be accepted there,
with the same row.
"""

from collections import Counter
from collections.abc import Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.ingest import patterns
from export_pipeline.ingest.parsing import TOP_KEYS
from export_pipeline.ingest.validation import Plain

SAMPLE_LINES = 2048
"""Lines of a chunk that are looked at for forms."""

LEARN_ABOVE = 1 / 32
"""The share of a chunk's lines that fit no form above which forms are looked for among them."""

MAX_KEY_LISTS, MAX_FORMS = 4, 24
"""How many lists of top-level keys, and forms of ``data``, are compared with; the most frequent ones."""

MAX_KEYS = 32
"""An object with more keys has no common form: what it is compared with must stay small."""

NO_FORM = -1
"""What ``unknown_keys`` is for a line of no known form."""

Places = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]


class PlainForms:
    """The forms seen in a batch."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, plain: Plain) -> None:
        """Know no form yet; ``connection`` is used by nothing else."""
        self._connection = connection
        self._plain = plain
        self._key_lists: Counter[tuple[str, ...]] = Counter()
        self._forms: Counter[tuple[str, ...]] = Counter()
        self._patterns: list[tuple[str, int]] = []

    def mark(self, text: pa.ChunkedArray) -> pa.Array:
        """The number of unknown keys of each line, ``NO_FORM`` where a line fits no form or is null."""
        unknown = np.full(len(text), NO_FORM, np.int32)
        left = self._fit(text, np.arange(len(text)), unknown)
        if len(left) > len(text) * LEARN_ABOVE:
            places = np.unique(np.linspace(0, len(left) - 1, SAMPLE_LINES, dtype=np.int64))
            self._learn(text.take(pa.array(left[places])))
            self._fit(text, left, unknown)
        return pa.array(unknown)

    def _fit(self, text: pa.ChunkedArray, left: Places, unknown: Counts) -> Places:
        for pattern, count in self._patterns:
            some = text if len(left) == len(text) else text.take(pa.array(left))
            fits = pc.match_substring_regex(some, pattern).fill_null(False).to_numpy()
            unknown[left[fits]] = count
            left = left[~fits]
        return left

    def _learn(self, text: pa.ChunkedArray) -> None:
        self._connection.register("sample_lines", pa.table({"text": text}))
        seen = self._connection.execute(f"""
            select {TOP_KEYS} as keys,
                case when json_valid(text) then try(json_keys(text, '$.data')) end as inner_keys, count(*)
            from sample_lines group by all""").fetchall()
        self._connection.unregister("sample_lines")
        for keys, inner, count in seen:
            if _can_be_common(keys):
                self._key_lists[tuple(keys)] += count
            if _can_be_common(inner) and self._form(tuple(inner)):
                self._forms[tuple(inner)] += count
        self._patterns = list(self._current())

    def _current(self) -> list[tuple[str, int]]:
        forms = [r"\{\}", *(self._form(inner) or "" for inner, _ in self._forms.most_common(MAX_FORMS))]
        values = {**self._plain.patterns, "data": f"(?:{'|'.join(forms)}|null)"}
        found = []
        for keys, _ in self._key_lists.most_common(MAX_KEY_LISTS):
            line = patterns.members((key, values.get(key, patterns.NESTED)) for key in keys)
            if line and _can_be_searched(pattern := rf"^{line}\r?\n$"):
                found.append((pattern, len(set(keys) - values.keys())))
        return found

    def _form(self, keys: tuple[str, ...]) -> str | None:
        """``data`` with these keys in this order, each of its catalogue type or null, nothing nested."""
        types = [self._plain.inner_types.get(key, "any") for key in keys]
        if not all(kind in patterns.OF_TYPE for kind in types):
            return None
        return patterns.members(
            (key, patterns.or_null(patterns.OF_TYPE[kind])) for key, kind in zip(keys, types, strict=True)
        )


def _can_be_common(keys: Sequence[str] | None) -> bool:
    return bool(keys) and len(set(keys or ())) == len(keys or ()) <= MAX_KEYS


def _can_be_searched(pattern: str) -> bool:
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid:
        return False  # many forms of many keys are more than a search takes
    return True
