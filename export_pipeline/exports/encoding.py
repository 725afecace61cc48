"""The line of a row, as SQL text derived from the catalogue (contract, section 3).

Owns what JSONL and CSV look like. A query made here yields each row's finished line, newline
included, so that the buffer DuckDB hands over is the content of the file.
"""

from datetime import datetime
from functools import cache

from export_pipeline.days import midnight
from export_pipeline.events.catalogue import DATA_TYPES, DataType, Event, Field
from export_pipeline.exports.request import Format
from export_pipeline.sql import literal, quoted

_LATENESS_SECONDS = 600
"""How long after a window most of its rows have been received; later ones take a slower path."""

_NUMBER = r"-?[0-9][0-9.eE+-]*"
_SAFE_TEXT = r'"[^"\\,=+\-@\x00-\x1f][^"\\,\x00-\x1f]*"'
_NEEDS_QUOTES = '[",\\r\\n]'
_FORMULA = r"^([=+\-@\t\r])"


def header(data_type: str, format: Format) -> bytes:
    """What a file begins with before its first row: the CSV header; nothing for JSONL."""
    if format == "jsonl":
        return b""
    return (",".join(DATA_TYPES[data_type].csv_columns) + "\n").encode()


def lines(data_type: str, format: Format, source: str, begin: datetime, end: datetime) -> str:
    """A query for the lines of ``source``'s rows, in export order.

    Args:
        source: a table expression with the columns of the data type's table.
        begin, end: instants of one day between which all the rows lie.

    The columns are ``line`` and ``us``, the row's instant in microseconds since 1970. The query
    needs the tables of ``scanning.connection``.
    """
    kind = DATA_TYPES[data_type]
    day = midnight(begin.date())
    day_second = int(day.timestamp())
    first = int(begin.timestamp()) - day_second
    last = int(end.timestamp()) - day_second
    inner = f"select * from {source}" if format == "jsonl" else _csv_source(kind, source)
    line = _json_line(kind, day) if format == "jsonl" else _csv_line(kind, day)
    return f"""
        select {line} as line, epoch_us(r.timestamp) as us
        from ({inner}) r
        join (from clock where second between {first} and {last}) happened
            on happened.second = (epoch_us(r.timestamp) // 1000000 - {day_second})::integer
        join fraction happened_ms on happened_ms.ms = (epoch_ms(r.timestamp) % 1000)::integer
        left join (from clock where second between {first} and {last + _LATENESS_SECONDS}) received
            on received.second = epoch_us(r.receivedAt) // 1000000 - {day_second}
        join fraction received_ms on received_ms.ms = (epoch_ms(r.receivedAt) % 1000)::integer
        order by r.timestamp, r.eventId"""


def lines_of_days(data_type: str, source: str) -> str:
    """The same query for JSON Lines of rows of any days; slower, and needs no tables."""
    return f"""
        select {_json_line(DATA_TYPES[data_type], None)} as line, epoch_us(r.timestamp) as us
        from {source} r order by r.timestamp, r.eventId"""


def _instant(field: Field, day: datetime | None) -> list[str]:
    column = f"r.{quoted(field.name)}"
    if day is None:
        text = f"strftime(make_timestamp(epoch_us({column})), '%Y-%m-%dT%H:%M:%S')"
        fraction = f"lpad((epoch_ms({column}) % 1000)::varchar, 3, '0')"
        return [text, f"case when {fraction} = '000' then 'Z' else concat('.', {fraction}, 'Z') end"]
    # Formatting by lookup costs a third of strftime, which is left to what was received much later.
    date = literal(day.strftime("%Y-%m-%dT"))
    if field.name == "timestamp":
        return [date, "happened.hms", "happened_ms.text"]
    late = f"strftime(make_timestamp(epoch_us({column})), '%Y-%m-%dT%H:%M:%S')"
    return [
        f"case when received.hms is null then {late} else concat({date}, received.hms) end",
        "received_ms.text",
    ]


def _json_line(kind: DataType, day: datetime | None) -> str:
    pieces: list[str] = []
    for position, field in enumerate(kind.row_fields):
        column = f"r.{quoted(field.name)}"
        pieces.append(literal(("," if position else "{") + f'"{field.name}":'))
        if field.datetime:
            pieces += ["'\"'", *_instant(field, day), "'\"'"]
        elif field.name == "dataType":
            pieces.append(literal(f'"{kind.name}"'))
        elif field.type == "object":
            pieces.append(column)
        elif field.nullable:
            pieces.append(f"coalesce(to_json({column})::varchar, 'null')")
        else:
            pieces.append(f"to_json({column})")
    return f"concat({', '.join(_merged([*pieces, literal('}' + chr(10))]))})"


def _csv_source(kind: DataType, source: str) -> str:
    """The rows with ``plain``, no text column needs care, and ``known``, the texts of a plain ``data``."""
    texts = [f"{quoted(f.name)}" for f in kind.incoming_fields if _is_free_text(f)]
    together = f"concat({', '.join(texts)})"
    harmless = [f"not contains(texts, {character})" for character in ("','", "'\"'", "chr(10)", "chr(13)")]
    # In byte order all that can begin a formula, and the empty text, lies outside these ranges.
    begins = [f"coalesce({t} >= 'A' or ({t} >= '0' and {t} < ':'), true)" for t in texts]
    known = " ".join(
        f"when event = {literal(event.name)} and {_is_plain_data(event)} then {_texts_of(event)}"
        for event in kind.events
    )
    return (
        f"select *, {' and '.join(harmless + begins)} as plain, case {known} end as known "
        f"from (select *, {together} as texts from {source})"
    )


def _is_free_text(field: Field) -> bool:
    closed = field.values or field.name in ("event", "dataType")
    return field.type == "string" and not field.datetime and not closed


def _is_plain_data(event: Event) -> str:
    """Whether ``data`` holds only fields of the event, and nothing that needs quotes or a prefix."""
    if not event.fields:
        return "data = '{}'"
    names = "|".join(field.name for field in event.fields)
    value = f"(?:{_NUMBER}|{_SAFE_TEXT}|true|false|null)"
    pair = f'"(?:{names})":{value}'
    return f"regexp_matches(data, {literal(f'^{{(?:{pair}(?:,{pair})*)?}}$')})"


def _texts_of(event: Event) -> str:
    if not event.fields:
        return "[]::varchar[]"
    return f"json_extract_string(data, {_paths(tuple(field.name for field in event.fields))})"


def _paths(names: tuple[str, ...]) -> str:
    return f"[{', '.join(literal(f'$.{name}') for name in names)}]"


def _csv_line(kind: DataType, day: datetime) -> str:
    def cells(fields: tuple[Field, ...], care: bool) -> str:
        pieces: list[str] = []
        for field in fields:
            column = f"r.{quoted(field.name)}"
            if field.datetime:
                pieces += _instant(field, day)
            elif field.name == "dataType":
                pieces.append(literal(kind.name))
            elif field.type == "number":
                pieces.append(f"to_json({column})")
            else:
                pieces.append(_text_cell(column) if care and _is_free_text(field) else column)
            pieces.append("','")
        return f"concat({', '.join(_merged(pieces[:-1]))})"

    def either(fields: tuple[Field, ...]) -> str:
        return f"case when r.plain then {cells(fields, False)} else {cells(fields, True)} end"

    at = [field.name for field in kind.row_fields].index("data")
    before, after = kind.row_fields[:at], kind.row_fields[at + 1 :]
    return f"concat({either(before)}, ',', {_data_cells(kind)}, ',', {either(after)}, {literal(chr(10))})"


def _data_cells(kind: DataType) -> str:
    branches = " ".join(
        f"when r.event = {literal(event.name)} then {_plain_cells(kind, event)}" for event in kind.events
    )
    return f"case when r.known is null then {_any_cells(kind)} else case {branches} end end"


def _plain_cells(kind: DataType, event: Event) -> str:
    places = {field.name: place for place, field in enumerate(event.fields, start=1)}
    pieces: list[str] = []
    for name in kind.data_fields:
        if name in places:
            pieces.append(f"r.known[{places[name]}]")
        pieces.append("','")
    return f"concat({', '.join(_merged(pieces))})"


@cache
def _any_cells(kind_or_name: DataType) -> str:
    """The cells of any ``data`` whatever, ``data.extra`` included."""
    names = kind_or_name.data_fields
    text = _text_cell("json_extract_string(j, '$')")
    cell = (
        f"case when j is null or j::varchar = 'null' then '' "
        f"when starts_with(j::varchar, '\"') then {text} else {_quoted_if_needed('j::varchar')} end"
    )
    nothing = literal("{" + ",".join(f'"{name}":null' for name in names) + "}")
    extra = f"json_merge_patch(r.data, {nothing})::varchar"
    return (
        f"concat(array_to_string(list_transform("
        f"json_extract(r.data, {_paths(names)}), lambda j: {cell}), ','), "
        f"',', case when {extra} = '{{}}' then '' else {_quoted_if_needed(extra)} end)"
    )


def _text_cell(text: str) -> str:
    """A text as a cell: a formula is defused, an empty text is told from null, quotes where needed."""
    defused = f"regexp_replace({text}, {literal(_FORMULA)}, '''\\1')"
    return (
        f"case when {text} is null then '' when {text} = '' then '\"\"' else {_quoted_if_needed(defused)} end"
    )


def _quoted_if_needed(text: str) -> str:
    quotes = f"concat('\"', replace({text}, '\"', '\"\"'), '\"')"
    return f"case when regexp_matches({text}, {literal(_NEEDS_QUOTES)}) then {quotes} else {text} end"


def _merged(pieces: list[str]) -> list[str]:
    """The arguments of ``concat`` with neighbouring constants made one."""
    merged: list[str] = []
    for piece in pieces:
        constant = piece.startswith("'") and piece.endswith("'")
        if constant and merged and merged[-1].startswith("'"):
            merged[-1] = merged[-1][:-1] + piece[1:]
        else:
            merged.append(piece)
    return merged
