"""What becomes of a parsed line: accepted with its row, or rejected with a reason, as one SQL query.

``event_lines`` and ``user_lines`` say what is asked of the lines of a target. Nothing here reads a file.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from export_pipeline.ingest.parsing import LONG_DIGITS, MAX_DEPTH, struct_of
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
class Plain:
    """How lines of the common form are judged, see ``plain``: those of which the form alone tells a lot.

    ``patterns`` are what the value of each known key must look like, but for ``data``, and ``inner_types``
    the types of the known fields of ``data``. ``texts`` are the keys whose values can only be strings or
    null; their value is the string itself, not its JSON text. ``layers`` are as in ``Validation``;
    ``conditions`` over the last make sure, together with the form, that no rule rejects a line and that
    nothing but unknown keys is to be noted of it.
    """

    patterns: Mapping[str, str]
    inner_types: Mapping[str, str]
    texts: Sequence[str]
    layers: Sequence[Mapping[str, str]]
    conditions: Sequence[str]


@dataclass(frozen=True)
class Validation:
    """How the lines of a target are judged.

    ``keys`` are the known top-level keys, ``objects`` those whose value is an object. ``layers`` are select
    lists in SQL, each over the one before and the first over ``parsed``; ``rules`` and ``columns`` (the
    columns of the table, and what each is) are over the last. ``unknown_keys``, ``drift`` and ``clamped`` are
    what is noted of a line that is accepted. ``identity`` are the columns in which two duplicates are equal,
    ``instant`` is the one by which rows are sorted and with which an erasure is compared. ``plain`` is
    for targets with a common form.
    """

    keys: Sequence[str]
    objects: Sequence[str]
    layers: Sequence[Mapping[str, str]]
    rules: Sequence[Rule]
    columns: Mapping[str, str]
    identity: Sequence[str]
    instant: str
    plain: Plain | None = None
    unknown_keys: str = "unknown_keys"
    drift: str = "0"
    clamped: str = "false"

    def sql(self) -> str:
        """A query over ``parsed``: ``file, line, code, raw``, the columns, ``unknown_keys, drift, clamped``.

        ``code`` is the position in ``rules`` of the rule that rejects the line, null if it is accepted;
        ``raw`` is the line without its end, for rejected lines only.
        """
        cases = " ".join(f"when {rule.condition} then {code}" for code, rule in enumerate(self.rules))
        source = f"(select *, (case {cases} end)::smallint as code from {_layered('parsed', self.layers)})"
        raw = f"case when code is not null then {_RAW} end"
        return self._rows(source, raw, self.unknown_keys, self.drift, self.clamped)

    def plain_sql(self) -> str:
        """The same for the lines of the common form of the view ``lines``.

        That is ``parsing.register_lines``' with the column ``unknown_keys``. ``code`` is null or ``LEFT``:
        the line is accepted, or left for ``sql`` to judge.
        """
        assert self.plain
        values = {key: "VARCHAR" if key in self.plain.texts else "JSON" for key in self.keys}
        source = f"(select *, {struct_of('text', values)} as j from lines where unknown_keys >= 0)"
        accepted = " and ".join([_NO_LONG_NUMBER, *self.plain.conditions])
        code = f"case when coalesce({accepted}, false) then null else {LEFT} end::smallint"
        judged = f"(select *, {code} as code from {_layered(source, self.plain.layers)})"
        return self._rows(judged, "null::blob", self.unknown_keys, "0", "false")

    def _rows(self, source: str, raw: str, unknown_keys: str, drift: str, clamped: str) -> str:
        return f"""
            select file, line, code, {raw} as raw, {_select_list(self.columns)},
                ({unknown_keys})::integer as unknown_keys, ({drift})::integer as drift, {clamped} as clamped
            from {source}"""


_NO_LONG_NUMBER = (
    f"case when strlen(j.data) > 308 then not regexp_matches(j.data, {literal(LONG_DIGITS)}) else true end"
)

LINE_TEXT = r"regexp_replace(text, '\r?\n$', '')"
"""The text of a line without its end, in SQL."""

_RAW = (
    f"case when text is not null then encode({LINE_TEXT}) when suffix(hex(raw), '0D0A') "
    "then array_slice(raw, 1, -3) else array_slice(raw, 1, -2) end"
)


def _layered(query: str, layers: Iterable[Mapping[str, str]]) -> str:
    for layer in layers:
        query = f"(select *, {_select_list(layer)} from {query})"
    return query


def _select_list(expressions: Mapping[str, str]) -> str:
    return ", ".join(f"{expression} as {quoted(name)}" for name, expression in expressions.items())


def line_rules() -> list[Rule]:
    """The rules about a line as such, which come before all others."""
    return [Rule(f"fault = {literal(fault)}", fault, None, detail) for fault, detail in LINE_FAULTS.items()]
