"""What becomes of a parsed line: accepted with its row, or rejected with a reason (contract, section 2).

Built from the catalogue, one ``Validation`` a target. Nothing here reads a file or a store.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from export_pipeline.days import oldest_kept_day
from export_pipeline.events.catalogue import DATA_TYPES, USER_TABLES, DataType, Event, Field, UserTable
from export_pipeline.ingest import rules
from export_pipeline.ingest.lines import MAX_LINE_BYTES
from export_pipeline.ingest.parsing import MAX_DEPTH
from export_pipeline.ingest.rules import Rule
from export_pipeline.sql import literal, quoted

CLOCK_TOLERANCE = timedelta(minutes=5)
"""A timestamp further after ``receivedAt`` is set to ``receivedAt`` (contract, section 2)."""

RECEIVED_TOLERANCE = timedelta(days=2)
"""A ``receivedAt`` further after the instant of taking cannot be true and is set to that instant; without
this, a wrong clock could place rows on a day that does not close for years."""

LEFT = -3
"""The ``code`` of a line that the quick way leaves to the long one."""

LINE_FAULTS: Mapping[str, str] = {
    "not_utf8": "the line must be UTF-8",
    "not_json": "the line must be JSON as RFC 8259 has it",
    "not_object": "the line must be a JSON object",
    "duplicate_key": "a key must stand only once in an object",
    "too_deep": f"objects and arrays must not stand in each other more than {MAX_DEPTH} deep",
    "too_long": f"a line must not be longer than {MAX_LINE_BYTES} bytes",
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


_TEXT = r"regexp_replace(text, '\r?\n$', '')"
_RAW = (
    f"case when text is not null then encode({_TEXT}) when suffix(hex(raw), '0D0A') "
    "then array_slice(raw, 1, -3) else array_slice(raw, 1, -2) end"
)


def validation(target: str, taken_at: datetime, retention_days: int) -> Validation:
    """How the lines of ``target`` are judged in a batch taken at ``taken_at``."""
    if target in DATA_TYPES:
        return _events(DATA_TYPES[target], taken_at, retention_days)
    return _user_table(USER_TABLES[target.removeprefix("users/")])


def _select_list(expressions: Mapping[str, str]) -> str:
    return ", ".join(f"{expression} as {quoted(name)}" for name, expression in expressions.items())


def _line_rules() -> list[Rule]:
    return [Rule(f"fault = {literal(fault)}", fault, None, detail) for fault, detail in LINE_FAULTS.items()]


def _moment(instant: datetime) -> str:
    text = instant.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")
    return f"timestamp {literal(text)}"


def _interval(duration: timedelta) -> str:
    return f"interval {int(duration.total_seconds())} second"


def _text(name: str) -> str:
    return quoted(f"{name} text")


def _read(name: str) -> str:
    return quoted(f"{name} read")


def _events(data_type: DataType, taken_at: datetime, retention_days: int) -> Validation:
    fields = {field.name: field for field in data_type.incoming_fields}
    instants = [field.name for field in fields.values() if field.datetime]
    strings = [field.name for field in fields.values() if field.type == "string" and not field.datetime]
    values = {name: rules.string(name) for name in strings}
    values |= {f"{name} text": rules.string(name) for name in instants}
    values["object"] = f"coalesce({rules.value('data')}, '{{}}')"
    if data_type.has_current_time:
        values["currentTime"] = rules.double(rules.value("currentTime"))
    reading = {f"{name} read": rules.instant(_text(name)) for name in instants}
    if data_type.has_current_time:
        nested = rules.double("json_extract(object, '$.currentTime')")
        absent = f"{rules.value('currentTime')} is null and contains(object, '\"currentTime\"')"
        reading["lifted"] = f"case when {absent} then {nested} end"
    received = f"coalesce({_read('receivedAt')}, {_moment(taken_at)})"
    latest = f"{_moment(taken_at)} + {_interval(RECEIVED_TOLERANCE)}"
    receiving = {"received": f"case when {received} > {latest} then {_moment(taken_at)} else {received} end"}
    happened = f"coalesce({_read('timestamp')}, received)"
    clamping = {"late": f"{happened} > received + {_interval(CLOCK_TOLERANCE)}"}
    happening = {"happened": f"case when late then received else {happened} end"}
    columns = {name: quoted(name) for name in fields}
    columns["timestamp"] = "happened"
    columns["receivedAt"] = "received"
    columns["data"] = "object"
    columns["eventId"] = (
        f"""case when "eventId" <> '' then "eventId" else 'evt_' || left(sha256({_TEXT}), 32) end"""
    )
    if data_type.has_current_time:
        columns["currentTime"] = 'coalesce("currentTime", lifted)'
        columns["data"] = (
            """case when lifted is null then object else json_merge_patch(object, '{"currentTime":null}') end"""
        )
    own_name = literal(quoted(data_type.name))
    return Validation(
        keys=(*fields, "dataType"),
        objects=("data",),
        layers=[values, reading, receiving, clamping, happening],
        rules=[*_line_rules(), *_event_rules(data_type, fields, taken_at, retention_days)],
        columns={
            name: f"({expression})::varchar" if name == "data" else expression
            for name, expression in columns.items()
        },
        identity=("eventId",),
        plain=_plain(data_type, fields, taken_at, retention_days),
        inner_types=_inner_types(data_type),
        instant="timestamp",
        # Our own exports name their data type in each row and can be taken in again.
        unknown_keys=f"unknown_keys + coalesce({rules.value('dataType')} <> {own_name}, false)::integer",
        drift=_drift(data_type),
        clamped="late",
    )


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
        yield from rules.instant_rules(name, text=_text(name), moment=_read(name))
    oldest = oldest_kept_day(taken_at, retention_days)
    yield Rule(
        f"happened < timestamp '{oldest} 00:00:00'",
        "too_late",
        "timestamp",
        f"raw events are kept for {retention_days} days; on the day of taking, the first day kept was {oldest}",
    )


def _plain(
    data_type: DataType, fields: Mapping[str, Field], taken_at: datetime, retention_days: int
) -> list[str]:
    need_content = ", ".join(literal(event.name) for event in data_type.events if event.needs_content)
    conditions = [
        f"event in ({', '.join(map(literal, data_type.event))})",
        "\"userId\" <> ''",
        f'"deviceType" in ({", ".join(map(literal, fields["deviceType"].values))})',
        f"({rules.value('timestamp')} is null or {_read('timestamp')} is not null)",
        f"({rules.value('receivedAt')} is null or {_read('receivedAt')} is not null)",
        f"happened >= timestamp '{oldest_kept_day(taken_at, retention_days)} 00:00:00'",
        "not late",
    ]
    if need_content:
        conditions.append(f"(\"contentId\" <> '' or event not in ({need_content}))")
    if data_type.has_current_time:
        conditions.append(f'({rules.value("currentTime")} is null or "currentTime" is not null)')
        conditions.append("lifted is null")
    optional = ("contentId", "sessionId", "deviceId", "country", "eventId")
    return conditions + [f"({rules.value(name)} is null or {quoted(name)} is not null)" for name in optional]


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
    return f"case when regexp_matches(object, {literal('|'.join(suspicious))}) then case event {cases} else 0 end else 0 end"


def _drift_of(event: Event) -> str:
    def differs(field: Field) -> str:
        found = f"json_extract(object, '$.{field.name}')"
        if field.type == "integer":
            fits = rf"regexp_full_match({found}, '-?[0-9]+(?:\.0)?')"
        else:
            fits = f"regexp_matches({found}, '^[{_FIRST_CHARACTERS[field.type]}]')"
        return f"coalesce(({found} <> 'null' and not {fits})::integer, 0)"

    return " + ".join(differs(field) for field in event.fields if field.type != "any") or "0"


def _user_table(table: UserTable) -> Validation:
    values: dict[str, str] = {}
    reading: dict[str, str] = {}
    columns: dict[str, str] = {}
    judged = _line_rules()
    for field in table.fields:
        columns[field.name] = quoted(field.name)
        if field.datetime:
            values[f"{field.name} text"] = rules.string(field.name)
            reading[f"{field.name} read"] = rules.instant(_text(field.name))
            columns[field.name] = _read(field.name)
            detail = f"{field.name} must be a date and time as RFC 3339 has it, such as 2026-02-04T12:30:00Z"
            judged.append(Rule(f"{rules.value(field.name)} is null", rules.MISSING, field.name, detail))
            judged += rules.instant_rules(field.name, text=_text(field.name), moment=_read(field.name))
        elif field.type == "object":
            columns[field.name] = f"{rules.value(field.name)}::varchar"
            judged += rules.optional(field)
        else:
            values[field.name] = rules.string(field.name)
            judged += rules.optional(field) if field.nullable else rules.required_string(field.name)
    return Validation(
        keys=tuple(columns),
        objects=tuple(field.name for field in table.fields if field.type == "object"),
        layers=[values, reading],
        rules=judged,
        columns=columns,
        identity=tuple(columns),
        instant=table.newest_by,
    )
