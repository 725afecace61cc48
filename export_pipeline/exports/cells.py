"""The cells of CSV that need care, as SQL text derived from the catalogue (contract, section 3).

Owns which texts are quoted and which are made harmless, and how ``data`` becomes a cell a field.
"""

from functools import cache

from export_pipeline.events.catalogue import DataType, Event
from export_pipeline.sql import literal

_NUMBER = r"-?[0-9][0-9.eE+-]*"
_SAFE_TEXT = r'"[^"\\,=+\-@\x00-\x1f][^"\\,\x00-\x1f]*"'
_NEEDS_QUOTES = '[",\\r\\n]'
_FORMULA = r"^([=+\-@\t\r])"


@cache
def of_data(kind: DataType) -> str:
    """A query for the cells of ``given``, ``event`` and ``data``: one a field, then ``data.extra``."""
    known = " ".join(
        f"when event = {literal(event.name)} and {_is_plain(event)} then {_texts(event)}"
        for event in kind.events
    )
    plain = " ".join(
        f"when event = {literal(event.name)} then {_plain(kind, event)}" for event in kind.events
    )
    return (
        f"select case when known is null then {_any(kind)} else case {plain} end end "
        f"from (select event, data, case {known} end as known from given)"
    )


def of_text(text: str) -> str:
    """A text as a cell: a formula is defused, an empty text is told from null, quotes where needed."""
    defused = f"regexp_replace({text}, {literal(_FORMULA)}, '''\\1')"
    return (
        f"case when {text} is null then '' when {text} = '' then '\"\"' else {_quoted_if_needed(defused)} end"
    )


def _is_plain(event: Event) -> str:
    """Whether ``data`` holds only fields of the event, and nothing that needs quotes or a prefix."""
    if not event.fields:
        return "data = '{}'"
    names = "|".join(field.name for field in event.fields)
    value = f"(?:{_NUMBER}|{_SAFE_TEXT}|true|false|null)"
    pair = f'"(?:{names})":{value}'
    return f"regexp_matches(data, {literal(f'^{{(?:{pair}(?:,{pair})*)?}}$')})"


def _texts(event: Event) -> str:
    if not event.fields:
        return "[]::varchar[]"
    return f"json_extract_string(data, {_paths(tuple(field.name for field in event.fields))})"


def _plain(kind: DataType, event: Event) -> str:
    places = {field.name: place for place, field in enumerate(event.fields, start=1)}
    pieces: list[str] = []
    commas = ""
    for name in kind.data_fields:
        if name in places:
            pieces += [literal(commas)] * bool(commas) + [f"known[{places[name]}]"]
            commas = ""
        commas += ","
    return f"concat({', '.join([*pieces, literal(commas)])})"


def _paths(names: tuple[str, ...]) -> str:
    return f"[{', '.join(literal(f'$.{name}') for name in names)}]"


def _any(kind: DataType) -> str:
    """The cells of any ``data`` whatever, ``data.extra`` included."""
    names = kind.data_fields
    text = of_text("json_extract_string(j, '$')")
    cell = (
        f"case when j is null or j::varchar = 'null' then '' "
        f"when starts_with(j::varchar, '\"') then {text} else {_quoted_if_needed('j::varchar')} end"
    )
    nothing = literal("{" + ",".join(f'"{name}":null' for name in names) + "}")
    extra = f"json_merge_patch(data, {nothing})::varchar"
    return (
        f"concat(array_to_string(list_transform("
        f"json_extract(data, {_paths(names)}), lambda j: {cell}), ','), "
        f"',', case when {extra} = '{{}}' then '' else {_quoted_if_needed(extra)} end)"
    )


def _quoted_if_needed(text: str) -> str:
    quotes = f"concat('\"', replace({text}, '\"', '\"\"'), '\"')"
    return f"case when regexp_matches({text}, {literal(_NEEDS_QUOTES)}) then {quotes} else {text} end"
