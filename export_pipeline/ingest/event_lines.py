"""What is asked of an event (contract, section 2, "Coming in"), from the catalogue.

Read in this order: values of the keys, instants, ``receivedAt``, then ``timestamp``, which leans on it.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from export_pipeline.days import oldest_kept_day
from export_pipeline.events.catalogue import DataType, Event, Field
from export_pipeline.ingest import patterns, rules
from export_pipeline.ingest.rules import Rule
from export_pipeline.ingest.validation import LINE_TEXT, Plain, Validation, line_rules
from export_pipeline.sql import literal, quoted

CLOCK_TOLERANCE = timedelta(minutes=5)
"""A timestamp further after ``receivedAt`` is set to ``receivedAt`` (contract, section 2)."""

RECEIVED_TOLERANCE = timedelta(days=2)
"""A ``receivedAt`` further after the instant of taking cannot be true; it is set to that instant and counted
as clamped. Without this, a wrong clock could place rows on a day that does not close for years."""


def event_validation(data_type: DataType, taken_at: datetime, retention_days: int) -> Validation:
    """How lines of ``data_type`` are judged in a batch taken at ``taken_at``."""
    fields = {field.name: field for field in data_type.incoming_fields}
    columns = {name: quoted(name) for name in fields}
    columns["timestamp"] = "happened"
    columns["receivedAt"] = "received"
    columns["data"] = "object"
    columns["eventId"] = (
        f"""case when "eventId" <> '' then "eventId" else 'evt_' || left(sha256({LINE_TEXT}), 32) end"""
    )
    if data_type.has_current_time:
        columns["currentTime"] = 'coalesce("currentTime", lifted)'
        without = """json_merge_patch(object, '{"currentTime":null}')"""
        columns["data"] = f"case when lifted is null then object else {without} end"
    own_name = literal(quoted(data_type.name))
    return Validation(
        keys=(*fields, "dataType"),
        objects=("data",),
        layers=_layers(data_type, taken_at, rules.string, rules.instant),
        rules=[*line_rules(), *_event_rules(data_type, fields, taken_at, retention_days)],
        columns={
            name: f"({expression})::varchar" if name == "data" else expression
            for name, expression in columns.items()
        },
        identity=("eventId",),
        plain=_plain(data_type, fields, taken_at, retention_days),
        instant="timestamp",
        # Our own exports name their data type in each row and can be taken in again.
        unknown_keys=f"unknown_keys + coalesce({rules.value('dataType')} <> {own_name}, false)::integer",
        drift=_drift(data_type),
        clamped="late or ahead",
    )


def _layers(
    data_type: DataType, taken_at: datetime, text: Callable[[str], str], instant: Callable[[str], str]
) -> list[Mapping[str, str]]:
    """What is read of a line, ``text`` being the string that a key holds, ``instant`` what a text tells."""
    strings = [field for field in data_type.incoming_fields if field.type == "string"]
    instants = [field.name for field in strings if field.datetime]
    values = {field.name: text(field.name) for field in strings if not field.datetime}
    values |= {f"{name} text": text(name) for name in instants}
    values["object"] = f"coalesce({rules.value('data')}, '{{}}')"
    if data_type.has_current_time:
        values["currentTime"] = rules.double(rules.value("currentTime"))
    reading = {f"{name} read": instant(rules.text_of(name)) for name in instants}
    if data_type.has_current_time:
        nested = rules.double("json_extract(object, '$.currentTime')")
        absent = f"{rules.value('currentTime')} is null and contains(object, '\"currentTime\"')"
        reading["lifted"] = f"case when {absent} then {nested} end"
    received = f"coalesce({rules.read_of('receivedAt')}, {_moment(taken_at)})"
    latest = f"{_moment(taken_at)} + {_interval(RECEIVED_TOLERANCE)}"
    receiving = {
        "ahead": f"{received} > {latest}",
        "received": f"case when {received} > {latest} then {_moment(taken_at)} else {received} end",
    }
    happened = f"coalesce({rules.read_of('timestamp')}, received)"
    clamping = {"late": f"{happened} > received + {_interval(CLOCK_TOLERANCE)}"}
    happening = {"happened": f"case when late then received else {happened} end"}
    return [values, reading, receiving, clamping, happening]


def _event_rules(
    data_type: DataType, fields: Mapping[str, Field], taken_at: datetime, retention_days: int
) -> Iterable[Rule]:
    names = ", ".join(map(literal, data_type.event))
    need_content = [event.name for event in data_type.events if event.needs_content]
    yield from rules.required_string("event")
    yield Rule(
        f"event not in ({names})",
        "unknown_event",
        "event",
        f"event must be one of {', '.join(data_type.event)}",
    )
    yield from rules.required_string("userId")
    yield from rules.required_string("deviceType")
    yield rules.allowed_values(fields["deviceType"])
    if need_content:
        yield from rules.required_string("contentId", f"event in ({', '.join(map(literal, need_content))})")
    for name in ("contentId", "sessionId", "currentTime", "data", "deviceId", "country", "eventId"):
        if name in fields:
            yield from rules.optional(fields[name])
    for name in ("timestamp", "receivedAt"):
        yield from rules.instant_rules(name)
    oldest = oldest_kept_day(taken_at, retention_days)
    yield Rule(
        f"happened < timestamp '{oldest} 00:00:00'",
        "too_late",
        "timestamp",
        f"raw events are kept for {retention_days} days; when it was taken, the first day kept was {oldest}",
    )


def _plain(
    data_type: DataType, fields: Mapping[str, Field], taken_at: datetime, retention_days: int
) -> Plain:
    looks = {field.name: patterns.or_null(patterns.OF_TYPE.get(field.type, "")) for field in fields.values()}
    looks |= {
        field.name: patterns.or_null(f'"{rules.INSTANT}"') for field in fields.values() if field.datetime
    }
    looks["event"] = patterns.one_of(data_type.event)
    looks["userId"] = patterns.TEXT
    looks["deviceType"] = patterns.one_of(fields["deviceType"].values)
    looks["dataType"] = patterns.SCALAR
    # Lines without a key can have a form too.
    conditions = [
        *(f"{quoted(name)} is not null" for name in ("event", "userId", "deviceType")),
        f"({rules.text_of('timestamp')} is null or {rules.read_of('timestamp')} is not null)",
        f"({rules.text_of('receivedAt')} is null or {rules.read_of('receivedAt')} is not null)",
        f"happened >= timestamp '{oldest_kept_day(taken_at, retention_days)} 00:00:00'",
        "not late",
        "not ahead",
    ]
    if any(event.needs_content for event in data_type.events):
        others = [f"event = {literal(event.name)}" for event in data_type.events if not event.needs_content]
        conditions.append(f"(\"contentId\" <> '' or {' or '.join(others) or 'false'})")
    if data_type.has_current_time:
        conditions.append(f'({rules.value("currentTime")} is null or "currentTime" is not null)')
        conditions.append("lifted is null")
    return Plain(
        patterns=looks,
        inner_types=_inner_types(data_type),
        texts=[field.name for field in fields.values() if field.type == "string"],
        layers=_layers(data_type, taken_at, rules.value, rules.instant_of_form),
        conditions=conditions,
    )


def _inner_types(data_type: DataType) -> dict[str, str]:
    types: dict[str, set[str]] = {}
    for event in data_type.events:
        for inner in event.fields:
            types.setdefault(inner.name, set()).add(inner.type)
    # A field whose type depends on the event has none that could be checked without the event.
    return {name: "".join(kinds) if len(kinds) == 1 else "various" for name, kinds in types.items()}


_FIRST_CHARACTERS = {"string": '"', "integer": "-0-9", "number": "-0-9", "boolean": "tf", "object": "{"}


def _drift(data_type: DataType) -> str:
    """The number of known ``data`` fields whose value has another type than the catalogue says."""
    # One pass over the text finds nearly all rows that have none; nulls are never drift.
    suspicious = []
    for expected, characters in _FIRST_CHARACTERS.items():
        names = sorted({f.name for event in data_type.events for f in event.fields if f.type == expected})
        if names:
            suspicious.append(f'"(?:{"|".join(names)})":[^{characters}n]')
        if names and expected == "integer":
            suspicious.append(f'"(?:{"|".join(names)})":-?[0-9]+[.eE]')
    cases = " ".join(
        f"when {literal(event.name)} then {_drift_of(event)}" for event in data_type.events if event.fields
    )
    suspect = f"regexp_matches(object, {literal('|'.join(suspicious))})"
    return f"case when {suspect} then case event {cases} else 0 end else 0 end"


def _drift_of(event: Event) -> str:
    def differs(field: Field) -> str:
        found = f"json_extract(object, '$.{field.name}')"
        if field.type == "integer":
            fits = rf"regexp_full_match({found}, '-?[0-9]+(?:\.0)?')"
        else:
            fits = f"regexp_matches({found}, '^[{_FIRST_CHARACTERS[field.type]}]')"
        return f"coalesce(({found} <> 'null' and not {fits})::integer, 0)"

    return " + ".join(differs(field) for field in event.fields if field.type != "any") or "0"


def _moment(instant: datetime) -> str:
    text = instant.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")
    return f"timestamp {literal(text)}"


def _interval(duration: timedelta) -> str:
    return f"interval {int(duration.total_seconds())} second"
