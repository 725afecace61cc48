"""The rules of ingest written a second time, in plain Python, to compare with.

One line at a time, with the standard library's JSON parser; shares the catalogue with the code under test.
"""

import calendar
import hashlib
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from export_pipeline.events.catalogue import DATA_TYPES

MAX_DEPTH = 100
_EPOCH = date(1970, 1, 1).toordinal()
_DATE_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII
)


@dataclass(frozen=True)
class Row:
    """An accepted line: the values of its columns, instants as milliseconds since 1970."""

    values: dict[str, Any]
    unknown_keys: int
    drift: int
    clamped: bool


class Rejected(Exception):
    """The line is rejected."""


class _Pairs(list[tuple[str, Any]]):
    """An object as it stands in the text."""


def _refuse(token: str) -> Any:
    raise ValueError(token)


def _number(text: str) -> Any:
    return ("number", text)


def _plain(value: Any, depth: int = 1) -> Any:
    """The value with objects as dicts; an object with a key twice or nesting too deep is rejected."""
    if isinstance(value, _Pairs | list) and depth > MAX_DEPTH:
        raise Rejected("too_deep")
    if isinstance(value, _Pairs):
        keys = [key for key, _ in value]
        if len(set(keys)) < len(keys):
            raise Rejected("duplicate_key")
        return {key: _plain(inner, depth + 1) for key, inner in value}
    if isinstance(value, list):
        return [_plain(inner, depth + 1) for inner in value]
    if isinstance(value, tuple) and not re.fullmatch(r"-?\d+", value[1]) and math.isinf(float(value[1])):
        raise Rejected("number_too_big")
    return value


def _surrogates(value: Any) -> bool:
    if isinstance(value, _Pairs):
        return any(_surrogates(key) or _surrogates(inner) for key, inner in value)
    if isinstance(value, list):
        return any(map(_surrogates, value))
    return isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value)


def parse(raw: bytes) -> _Pairs:
    """The object on the line."""
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_Pairs,
            parse_constant=_refuse,
            parse_int=_number,
            parse_float=_number,
        )
    except ValueError:
        raise Rejected("not_json") from None
    if _surrogates(value):
        raise Rejected("not_json")
    if not isinstance(value, _Pairs):
        raise Rejected("not_object")
    return value


def instant(text: str) -> int:
    """Milliseconds since 1970, cut; also outside of the years that ``datetime`` has."""
    found = _DATE_TIME.fullmatch(text)
    if not found:
        raise Rejected("bad_timestamp")
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    if not (1 <= month <= 12 and day >= 1 and hour <= 23 and minute <= 59 and second <= 59):
        raise Rejected("bad_timestamp")
    # The Gregorian calendar repeats every 400 years.
    shifted = year + 400 if year < 400 else year
    if day > calendar.monthrange(shifted, month)[1]:
        raise Rejected("bad_timestamp")
    days = date(shifted, month, day).toordinal() - (146_097 if shifted != year else 0) - _EPOCH
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second
    if found[9]:
        ahead = (int(found[10]) * 60 + int(found[11])) * 60
        if int(found[10]) > 23 or int(found[11]) > 59:
            raise Rejected("bad_timestamp")
        seconds -= ahead if found[9] == "+" else -ahead
    return seconds * 1000 + int((found[7] or "0").ljust(3, "0")[:3])


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970, cut."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def judge(raw: bytes, data_type: str, taken_at: datetime, retention_days: int) -> Row:
    """The row of a line (without its end), or ``Rejected``."""
    kind = DATA_TYPES[data_type]
    pairs = parse(raw)
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise Rejected("duplicate_key")
    top = dict(pairs)
    known = {field.name: top.pop(field.name, None) for field in kind.incoming_fields}
    own_type = top.pop("dataType", None)
    unknown = len(top) + (own_type is not None and own_type != data_type)
    data = known["data"]
    if data is not None and not isinstance(data, _Pairs):
        raise Rejected("wrong_type")
    data = _plain(data) if data is not None else {}
    for name in ("event", "userId", "deviceType"):
        if not isinstance(known[name], str) or known[name] == "":
            raise Rejected(name)
    event = kind.event.get(known["event"])
    if event is None or known["deviceType"] not in ("ios", "android", "web"):
        raise Rejected("value")
    for name in ("contentId", "sessionId", "deviceId", "country", "eventId", "timestamp", "receivedAt"):
        if known[name] is not None and not isinstance(known[name], str):
            raise Rejected(name)
    if event.needs_content and not known["contentId"]:
        raise Rejected("contentId")
    values = {**known, "data": data}
    if kind.has_current_time:
        values["currentTime"] = _finite(known["currentTime"])
        if known["currentTime"] is None and _finite(data.get("currentTime"), strict=False) is not None:
            values["currentTime"] = _finite(data.pop("currentTime"))
    taken = milliseconds(taken_at)
    received = instant(known["receivedAt"]) if known["receivedAt"] is not None else taken
    ahead = received > taken + 2 * 86_400_000
    received = taken if ahead else received
    happened = instant(known["timestamp"]) if known["timestamp"] is not None else received
    clamped = happened > received + 300_000
    happened = received if clamped else happened
    oldest = milliseconds(taken_at.replace(hour=0, minute=0, second=0, microsecond=0))
    if happened < oldest - retention_days * 86_400_000:
        raise Rejected("too_late")
    values |= {"timestamp": happened, "receivedAt": received}
    if not known["eventId"]:
        values["eventId"] = "evt_" + hashlib.sha256(raw).hexdigest()[:32]
    drift = sum(_drifts(data.get(field.name), field.type) for field in event.fields)
    return Row(values, unknown, drift, clamped or ahead)


def _finite(value: Any, *, strict: bool = True) -> float | None:
    if isinstance(value, tuple) and math.isfinite(float(value[1])):
        return float(value[1])
    if value is not None and strict:
        raise Rejected("currentTime")
    return None


def _drifts(value: Any, expected: str) -> bool:
    if value is None or expected == "any":
        return False
    if expected == "string":
        return not isinstance(value, str)
    if expected == "boolean":
        return not isinstance(value, bool)
    if expected == "object":
        return not isinstance(value, dict)
    if not isinstance(value, tuple):
        return True
    number = value[1]
    if expected == "integer" and not re.fullmatch(r"-?\d+", number):
        as_float = float(number)
        # Beyond this a double is written with an exponent.
        return not (as_float.is_integer() and abs(as_float) < 1e16)
    return False


def comparable(value: Any) -> Any:
    """A JSON value so that equal ones compare equal: integers exactly, other numbers as doubles."""
    if isinstance(value, dict):
        return {key: comparable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [comparable(inner) for inner in value]
    if isinstance(value, tuple):
        text = value[1]
        return ("integer", int(text)) if re.fullmatch(r"-?\d+", text) else ("double", float(text))
    return value


def read_json(text: str) -> Any:
    """A stored JSON text as ``comparable`` has it."""
    pairs = json.loads(text, object_pairs_hook=_Pairs, parse_int=_number, parse_float=_number)
    return comparable(_plain(pairs))
