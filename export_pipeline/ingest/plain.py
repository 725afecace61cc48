"""The quick way for lines of the common form: one pass that accepts what is surely right and leaves the rest.

Most lines are written by a few programs and have the same keys in the same order, with flat ``data``. Such
forms are learned from the lines at hand and compared with whole, which is cheaper than asking every question
of every line. A line that fits none goes the long way, by ``parsing`` and ``validation``, which alone decide
what is rejected and why. What is accepted here would be accepted there, with the same row.
"""

import re
from collections import Counter

import duckdb
import numpy as np
import pyarrow as pa

from export_pipeline.ingest.parsing import LENIENT, LONG_DIGITS, TOP_KEYS, taken_apart
from export_pipeline.ingest.validation import Validation
from export_pipeline.sql import literal

SAMPLE_LINES = 2048
"""Lines of a chunk that are looked at for forms."""

MAX_KEY_LISTS, MAX_FORMS = 4, 24
"""How many lists of top-level keys, and forms of ``data``, are compared with; the most frequent ones."""

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?"
_STRING = r'"(?:[^"\\]|\\.)*"'
_VALUES = {
    "string": _STRING,
    "integer": r"-?[0-9]+",
    "number": _NUMBER,
    "boolean": r"true|false",
    "any": rf"{_STRING}|{_NUMBER}|true|false",
}
_KEY = re.compile(r"[A-Za-z0-9_.-]+")

# With none of these before a closing brace there is no trailing comma in an object.
_UNUSUAL_ENDS = {",": "',}'", " ": "' }'", "\t": r"e'\t}'", "\r": r"e'\r}'", "\n": r"e'\n}'"}


class PlainForms:
    """The forms seen in a batch, and the query that takes lines of these forms."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, validation: Validation) -> None:
        """Know no form yet."""
        self._connection = connection
        self._validation = validation
        self._key_lists: Counter[tuple[str, ...]] = Counter()
        self._forms: Counter[tuple[str, ...]] = Counter()
        self._unusual: set[str] = set()

    def learn(self, lines: pa.Table) -> None:
        """Look at some of ``lines``, spread evenly; their columns are those of the view ``lines``."""
        self._unusual = _before_braces(lines["raw"]) & _UNUSUAL_ENDS.keys()
        places = np.unique(np.linspace(0, lines.num_rows - 1, SAMPLE_LINES, dtype=np.int64))
        self._connection.register("sample_lines", lines.take(pa.array(places)))
        seen = self._connection.execute(f"""
            select {TOP_KEYS} as keys,
                case when json_valid(text) then try(json_keys(text, '$.data')) end as inner_keys, count(*)
            from sample_lines group by all""").fetchall()
        self._connection.unregister("sample_lines")
        for keys, inner, count in seen:
            if keys and len(set(keys)) == len(keys):
                self._key_lists[tuple(keys)] += count
            if inner and len(set(inner)) == len(inner) and self._pattern(tuple(inner)):
                self._forms[tuple(inner)] += count

    def sql(self) -> str:
        """A query over the view ``lines`` with the columns of ``Validation.sql``.

        Its ``code`` is null for accepted lines and ``LEFT`` for the others, whose other columns mean nothing.
        """
        source = f"""(
            select *, {self._unknown_keys()} as unknown_keys
            from (
                select *, {taken_apart(self._validation.keys)} as j, {TOP_KEYS} as keys from lines
            )
        )"""
        return self._validation.plain_sql(source, self._conditions())

    def _unknown_keys(self) -> str:
        known = set(self._validation.keys)
        cases = [
            f"when {_list(keys)} then {len(set(keys) - known)}"
            for keys, _ in self._key_lists.most_common(MAX_KEY_LISTS)
        ]
        return f"case keys {' '.join(cases)} end" if cases else "null::integer"

    def _conditions(self) -> list[str]:
        patterns = [r"\{\}"]
        patterns += [self._pattern(inner) or "" for inner, _ in self._forms.most_common(MAX_FORMS)]
        return [
            "unknown_keys is not null",
            # Unlike "or", "case" does not search lines that need no search.
            f"case when unknown_keys = 0 then true else not regexp_matches(text, {literal(LENIENT)}) end",
            *(f"not contains(text, {_UNUSUAL_ENDS[before]})" for before in sorted(self._unusual)),
            "case when strlen(j.data) > 308 "
            f"then not regexp_matches(j.data, {literal(LONG_DIGITS)}) else true end",
            f"(j.data is null or regexp_full_match(j.data, {literal('|'.join(patterns))}))",
        ]

    def _pattern(self, keys: tuple[str, ...]) -> str | None:
        """``data`` with these keys in this order, each of its catalogue type or null, nothing nested."""
        types = [self._validation.inner_types.get(key, "any") for key in keys]
        if not all(map(_KEY.fullmatch, keys)) or not all(kind in _VALUES for kind in types):
            return None
        members = [
            f'"{re.escape(key)}":(?:{_VALUES[kind]}|null)' for key, kind in zip(keys, types, strict=True)
        ]
        return r"\{" + ",".join(members) + r"\}"


def _before_braces(raw: pa.ChunkedArray) -> set[str]:
    """The characters that stand before a closing brace anywhere in ``raw``, or in bytes beside it."""
    found: set[str] = set()
    for array in raw.chunks:
        octets = np.frombuffer(array.buffers()[2] or b"", np.uint8)
        before = octets[np.flatnonzero(octets == ord("}")) - 1]
        found.update(map(chr, np.flatnonzero(np.bincount(before, minlength=1))))
    return found


def _list(texts: tuple[str, ...]) -> str:
    return "[" + ", ".join(map(literal, texts)) + "]"
