"""What a reader of an export is told about its rows, derived from the catalogue (contract, section 3).

The JSON Schema is true of every exported row. ``data`` keeps what was received, so the types of its
fields are annotations (``x-expectedType``) there, not constraints.
"""

from collections.abc import Iterable
from typing import Any

from export_pipeline.events.catalogue import DATA_TYPES, DataType, Event, Field

SCHEMA_VERSION = 1
"""Rises when the columns or the meaning of a row change."""

INSTANT_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z$"
"""How an instant is written: milliseconds only where they are not zero."""

_UNITS = {
    "ms": "milliseconds",
    "s": "seconds",
    "kbps": "kilobits a second",
    "percent": "percent, 0 to 100",
}


def json_schema(data_type: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of one JSONL row of the data type. Raises ``KeyError`` for no data type."""
    described = DATA_TYPES[data_type]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{described.name} row",
        "description": f"{described.description}. One line of an export, one event.",
        "x-schemaVersion": SCHEMA_VERSION,
        "type": "object",
        "properties": {field.name: _row_property(described, field) for field in described.row_fields},
        "required": [field.name for field in described.row_fields],
        "additionalProperties": False,
        **_content_rule(described),
    }


def _content_rule(data_type: DataType) -> dict[str, Any]:
    """``contentId`` is a string where the event needs content."""
    names = [event.name for event in data_type.events if event.needs_content]
    if not names:
        return {}
    condition = {"properties": {"event": {"enum": names}}}
    return {"if": condition, "then": {"properties": {"contentId": {"type": "string"}}}}


def _row_property(data_type: DataType, field: Field) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": field.description}
    if field.unit:
        schema["x-unit"] = field.unit
    if field.name == "dataType":
        return {**schema, "const": data_type.name}
    if field.name == "event":
        return {**schema, "enum": [event.name for event in data_type.events]}
    schema["type"] = [field.type, "null"] if field.nullable else field.type
    if field.values:
        schema["enum"] = [*field.values, None] if field.nullable else list(field.values)
    if field.datetime:
        schema |= {"format": "date-time", "pattern": INSTANT_PATTERN}
    if field.name == "data":
        schema["properties"] = {name: _data_property(data_type, name) for name in data_type.data_fields}
    return schema


def _data_property(data_type: DataType, name: str) -> dict[str, Any]:
    """What is expected of a field of ``data``; a field of several events is described for each."""
    found = [(event, field) for event in data_type.events for field in event.fields if field.name == name]
    fields = [field for _, field in found]
    schema: dict[str, Any] = {
        "description": "; ".join(_once(f"{field.description} ({event.name})" for event, field in found)),
        "x-events": [event.name for event, _ in found],
        "x-expectedType": _one_or_all(field.type for field in fields),
    }
    if any(field.unit for field in fields):
        schema["x-unit"] = _one_or_all(field.unit for field in fields if field.unit)
    if any(field.values for field in fields):
        schema["x-expectedValues"] = _once(value for field in fields for value in field.values)
    return schema


def _once(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _one_or_all(values: Iterable[str]) -> str | list[str]:
    different = _once(values)
    return different[0] if len(different) == 1 else different


def dictionary(data_type: str) -> str:
    """The data dictionary of the data type, Markdown. Raises ``KeyError`` for no data type."""
    described = DATA_TYPES[data_type]
    row = [
        (f"`{f.name}`", _type(f), "yes" if f.nullable else "no", _meaning(f, described))
        for f in described.row_fields
    ]
    columns = [(str(n), f"`{name}`") for n, name in enumerate(described.csv_columns, 1)]
    sections = [
        f"# Data dictionary: {described.name}",
        f"{described.description}. One event is one row. Schema version {SCHEMA_VERSION}.",
        _RULES,
        "## Row fields",
        "In JSONL every row has all of these keys, in this order.",
        _table(("Field", "Type", "Can be null", "Meaning"), row),
        "## Events",
        "The fields of `data`, event by event. A field can be absent or null. It is kept as it was received "
        "even where its type is not the one named here, and keys that are not listed are kept too.",
        *(_event(event) for event in described.events),
        "## CSV columns",
        "The same columns in the same order whatever rows are present.",
        _table(("Column", "Name"), columns),
    ]
    return "\n\n".join(sections) + "\n"


_RULES = """\
## Reading the files

- Times are UTC, RFC 3339 with `Z`, truncated to milliseconds; `.mmm` is written only when it is not zero.
- Rows are in the order of `timestamp`, equal ones in the order of the bytes of `eventId`.
- `eventId` is unique in a data type. Deduplicate on it when the same day is exported again.
- JSONL: one JSON object a line, UTF-8, lines end in `\\n`; a value that is not known is `null`.
- CSV: quoted as RFC 4180 says, lines end in `\\n`, the header is always there. Null is an empty cell, an
  empty string is `""`, objects and arrays are JSON.
- CSV: a text cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage return is prefixed with `'`, so
  that a spreadsheet runs no formula. Take the prefix off to get the text. Numbers never have it, nor has
  JSONL.
- CSV: `data` is spread over one column a field, `data.<field>`; `data.extra` is a JSON object of the keys
  that are not listed here, empty if there are none."""


def _type(field: Field) -> str:
    return "datetime" if field.datetime else field.type


def _meaning(field: Field, data_type: DataType | None = None) -> str:
    values = field.values
    if data_type and field.name == "event":
        values = tuple(event.name for event in data_type.events)
    if data_type and field.name == "dataType":
        values = (data_type.name,)
    parts = [field.description]
    if field.unit:
        parts.append(f"in {_UNITS[field.unit]}")
    if values:
        parts.append("one of " + ", ".join(f"`{value}`" for value in values))
    return "; ".join(parts)


def _event(event: Event) -> str:
    content = "`contentId` is always there." if event.needs_content else "`contentId` may be null."
    heading = f"### {event.name}\n\n{event.description}. {content}"
    if not event.fields:
        return f"{heading} It has no fields of its own."
    rows = [(f"`{field.name}`", _type(field), _meaning(field)) for field in event.fields]
    return f"{heading}\n\n" + _table(("Field", "Type", "Meaning"), rows)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
