"""The rules a line is judged by, as SQL: conditions with a reason, and how each value is read.

A line that several rules fit is rejected by the first. Built for any set of fields from the catalogue; which
rules hold for events and for user tables stands in ``validation``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from export_pipeline.events.catalogue import Field
from export_pipeline.sql import literal, quoted

MISSING, WRONG_TYPE, WRONG_VALUE = "missing_field", "wrong_type", "wrong_value"
BAD_TIMESTAMP, NO_ZONE = "bad_timestamp", "no_zone"

_DATE_TIME = (
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[Tt ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?"
)
INSTANT = _DATE_TIME + r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
"""The form of a date and time with a zone, as a pattern of RE2."""


@dataclass(frozen=True)
class Rule:
    """A line is rejected for ``reason`` if ``condition`` holds; ``detail`` says what would be right.

    ``detail`` holds nothing of the line, so no user id.
    """

    condition: str
    reason: str
    field: str | None
    detail: str


def value(name: str) -> str:
    """The JSON text of the known key ``name`` of a parsed line."""
    return f"j.{quoted(name)}"


def is_string(name: str) -> str:
    """Whether the value of ``name`` is a string; null if there is none."""
    return f"starts_with({value(name)}, '\"')"


def is_object(name: str) -> str:
    """Whether the value of ``name`` is an object; null if there is none."""
    return f"starts_with({value(name)}, '{{')"


def string(name: str) -> str:
    """The text of the string ``name``; null if it is absent or no string."""
    return f"case when {is_string(name)} then {value(name)} ->> '$' end"


def double(json_text: str) -> str:
    """The number that ``json_text`` is; null if it is no number or not finite."""
    number = f"try_cast(case when regexp_matches({json_text}, '^-?[0-9]') then {json_text} end as double)"
    return f"case when isfinite({number}) then {number} end"


def instant(text: str) -> str:
    """The instant of an RFC 3339 ``text`` with a zone, as a UTC timestamp cut to milliseconds; else null.

    A leap second (``:60``) is none: neither the store nor common readers can hold it.
    """
    matches = f"regexp_full_match({text}, {literal(INSTANT)})"
    return f"case when {matches} then {instant_of_form(text)} end"


def instant_of_form(text: str) -> str:
    """The same of a ``text`` that fits ``INSTANT``."""
    zoned = f"timezone('UTC', try_cast(upper({text}) as timestamptz))"
    moment = f"case when ends_with({text}, 'Z') then try_cast({text} as timestamp) else {zoned} end"
    return f"date_trunc('millisecond', {moment})"


def text_of(name: str) -> str:
    """The column of a layer that holds the text of the instant ``name``."""
    return quoted(f"{name} text")


def read_of(name: str) -> str:
    """The column of a layer that holds the instant that the text of ``name`` was read as."""
    return quoted(f"{name} read")


def required_string(name: str, where: str = "true") -> Iterable[Rule]:
    """``name`` must be a string that is not empty, wherever ``where`` holds."""
    detail = f"{name} must be a string that is not empty"
    yield Rule(f"({where}) and {value(name)} is null", MISSING, name, detail)
    yield Rule(f"({where}) and not {is_string(name)}", WRONG_TYPE, name, detail)
    yield Rule(f"({where}) and {quoted(name)} = ''", MISSING, name, detail)


def optional(field: Field) -> Iterable[Rule]:
    """The value of ``field`` must be of its type or null."""
    if field.type == "object":
        yield Rule(f"not {is_object(field.name)}", WRONG_TYPE, field.name, f"{field.name} must be an object")
    elif field.type == "number":
        condition = f"{value(field.name)} is not null and {quoted(field.name)} is null"
        yield Rule(condition, WRONG_TYPE, field.name, f"{field.name} must be a finite number")
    else:
        yield Rule(
            f"not {is_string(field.name)}", WRONG_TYPE, field.name, f"{field.name} must be a string or null"
        )


def allowed_values(field: Field) -> Rule:
    """The value of ``field`` must be one of those that the catalogue lists."""
    listed = ", ".join(map(literal, field.values))
    detail = f"{field.name} must be one of {', '.join(field.values)}"
    return Rule(f"{quoted(field.name)} not in ({listed})", WRONG_VALUE, field.name, detail)


def instant_rules(name: str) -> Iterable[Rule]:
    """``name`` must be a date and time as RFC 3339 has it, with a zone, or null."""
    text, moment = text_of(name), read_of(name)
    detail = f"{name} must be a date and time as RFC 3339 has it, such as 2026-02-04T12:30:00.250Z"
    yield Rule(f"not {is_string(name)}", WRONG_TYPE, name, detail)
    without_zone = f"{moment} is null and regexp_full_match({text}, {literal(_DATE_TIME)})"
    yield Rule(without_zone, NO_ZONE, name, f"{name} must end in Z or a zone such as +02:00")
    yield Rule(f"{text} is not null and {moment} is null", BAD_TIMESTAMP, name, detail)
