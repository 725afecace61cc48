"""The cells of CSV that need care, as SQL text derived from the catalogue (contract, section 3).

Owns which texts are quoted and which are made harmless, and how ``data`` becomes a cell a field.
"""

from functools import cache

from export_pipeline.events.catalogue import DataType
from export_pipeline.sql import literal

_NEEDS_QUOTES = '[",\\r\\n]'
_FORMULA = r"^([=+\-@\t\r])"


def _of_text(text: str) -> str:
    """A text as a cell: a formula is defused, an empty text is told from null, quotes where needed."""
    defused = f"regexp_replace({text}, {literal(_FORMULA)}, '''\\1')"
    return (
        f"case when {text} is null then '' when {text} = '' then '\"\"' else {_quoted_if_needed(defused)} end"
    )


def _paths(names: tuple[str, ...]) -> str:
    return f"[{', '.join(literal(f'$.{name}') for name in names)}]"


@cache
def of_data(kind: DataType) -> str:
    """A query for the cells of ``given``, a table of ``data``: one a field, then ``data.extra``."""
    names = kind.data_fields
    text = _of_text("json_extract_string(j, '$')")
    cell = (
        f"case when j is null or j::varchar = 'null' then '' "
        f"when starts_with(j::varchar, '\"') then {text} else {_quoted_if_needed('j::varchar')} end"
    )
    nothing = literal("{" + ",".join(f'"{name}":null' for name in names) + "}")
    extra = f"json_merge_patch(data, {nothing})::varchar"
    return (
        f"select concat(array_to_string(list_transform("
        f"json_extract(data, {_paths(names)}), lambda j: {cell}), ','), "
        f"',', case when {extra} = '{{}}' then '' else {_quoted_if_needed(extra)} end) from given"
    )


def _quoted_if_needed(text: str) -> str:
    quotes = f"concat('\"', replace({text}, '\"', '\"\"'), '\"')"
    return f"case when regexp_matches({text}, {literal(_NEEDS_QUOTES)}) then {quotes} else {text} end"
