"""What becomes of a parsed line: accepted with its row, or rejected with a reason, as one SQL query.

``event_lines`` and ``user_lines`` say what is asked of the lines of a target. Nothing here reads a file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from export_pipeline.ingest.parsing import MAX_DEPTH
from export_pipeline.ingest.rules import Rule
from export_pipeline.sql import literal, quoted

LEFT = -3
"""The ``code`` of a line that the quick way leaves to the long one."""

LINE_FAULTS: Mapping[str, str] = {
    "not_utf8": "the line must be UTF-8",
    "not_json": "the line must be JSON as RFC 8259 has it",
    "not_object": "the line must be a JSON object",
    "duplicate_key": "a key must stand only once in an object",
    "number_too_big": "a number that is no integer must be one that a double holds",
    "too_deep": f"objects and arrays must not stand in each other more than {MAX_DEPTH} deep",
}


@dataclass(frozen=True)
class Validation:
    """How the lines of a target are judged.

    ``keys`` are the known top-level keys, ``objects`` those whose value is an object. ``layers`` are select
    lists in SQL, each over the one before and the first over ``parsed``; ``rules`` and ``columns`` (the
    columns of the table, and what each is) are over the last. ``unknown_keys``, ``drift`` and ``clamped`` are
    what is noted of a line that is accepted. ``identity`` are the columns in which two duplicates are equal,
    ``instant`` is the one by which rows are sorted and with which an erasure is compared. ``plain`` are
    conditions that together make sure that no rule but one about the line's form rejects a line;
    ``inner_types`` are the types of the known fields of ``data``.
    """

    keys: Sequence[str]
    objects: Sequence[str]
    layers: Sequence[Mapping[str, str]]
    rules: Sequence[Rule]
    columns: Mapping[str, str]
    identity: Sequence[str]
    instant: str
    plain: Sequence[str] = ()
    inner_types: Mapping[str, str] = field(default_factory=dict)
    unknown_keys: str = "unknown_keys"
    drift: str = "0"
    clamped: str = "false"

    def sql(self) -> str:
        """A query over ``parsed``: ``file, line, code, raw``, the columns, ``unknown_keys, drift, clamped``.

        ``code`` is the position in ``rules`` of the rule that rejects the line, null if it is accepted;
        ``raw`` is the line without its end, for rejected lines only.
        """
        cases = " ".join(f"when {rule.condition} then {code}" for code, rule in enumerate(self.rules))
        source = f"(select *, (case {cases} end)::smallint as code from {self._layered('parsed')})"
        raw = f"case when code is not null then {_RAW} end"
        return self._rows(source, raw, self.unknown_keys, self.drift, self.clamped)

    def plain_sql(self, source: str, conditions: Sequence[str]) -> str:
        """The same over ``source``, with ``code`` null or ``LEFT``: accepted, or left for ``sql`` to judge.

        A line is accepted here if ``conditions`` and ``plain`` hold, which leaves no rule to reject it and
        nothing but unknown keys to be noted of it.

        Args:
            source: a query like ``parsed``, without ``fault``.
            conditions: what makes sure that the line has no fault and ``data`` has no drift.
        """
        accepted = " and ".join([*conditions, *self.plain])
        code = f"case when coalesce({accepted}, false) then null else {LEFT} end::smallint"
        judged = f"(select *, {code} as code from {self._layered(source)})"
        return self._rows(judged, "null::blob", self.unknown_keys, "0", "false")

    def _layered(self, query: str) -> str:
        for layer in self.layers:
            query = f"(select *, {_select_list(layer)} from {query})"
        return query

    def _rows(self, source: str, raw: str, unknown_keys: str, drift: str, clamped: str) -> str:
        return f"""
            select file, line, code, {raw} as raw, {_select_list(self.columns)},
                ({unknown_keys})::integer as unknown_keys, ({drift})::integer as drift, {clamped} as clamped
            from {source}"""


LINE_TEXT = r"regexp_replace(text, '\r?\n$', '')"
"""The text of a line without its end, in SQL."""

_RAW = (
    f"case when text is not null then encode({LINE_TEXT}) when suffix(hex(raw), '0D0A') "
    "then array_slice(raw, 1, -3) else array_slice(raw, 1, -2) end"
)


def _select_list(expressions: Mapping[str, str]) -> str:
    return ", ".join(f"{expression} as {quoted(name)}" for name, expression in expressions.items())


def line_rules() -> list[Rule]:
    """The rules about a line as such, which come before all others."""
    return [Rule(f"fault = {literal(fault)}", fault, None, detail) for fault, detail in LINE_FAULTS.items()]
