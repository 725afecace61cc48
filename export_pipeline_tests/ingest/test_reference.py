"""Whatever lands, what is accepted and how it is stored agrees with the rules written a second time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.ingest.landing import WaitingFile
from export_pipeline.ingest.lines import LineReader
from export_pipeline.ingest.staging import Staging
from export_pipeline.ingest.targets import validation_of
from export_pipeline_tests.ingest import reference

TAKEN_AT = datetime(2026, 2, 4, 12, 30, 0, 123456, tzinfo=UTC)
RETENTION = 90

_VALUES = st.sampled_from(
    [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "5",
        "-1.5",
        "1e3",
        "1e999",
        "-1e999",
        "3.0",
        "0.1",
        "01",
        "+1",
        ".5",
        "12345678901234567890123",
        "-9223372036854775809",
        "18446744073709551616",
        "1.7976931348623157e308",
        "NaN",
        "nan",
        "Infinity",
        "-inf",
        "tru",
        '""',
        '"x"',
        '"\\u00e9é\\n\\""',
        '"a\\u0000b"',
        '"\\ud83d\\ude00"',
        '"\\ud800"',
        '"\\x"',
        '"NaN,}"',
        '",]"',
        "'x'",
        "[]",
        "{}",
        "[1,[2,{}]]",
        "[1,]",
        '{"a":1,}',
        '{"a":1,"a":2}',
        '{"a":{"b":1,"b":1}}',
        '[{"b":1,"b":1}]',
        '{"a":NaN}',
        "[nan]",
        "[" * 99 + "]" * 99,
        "[" * 101 + "]" * 101,
        '"2026-02-04T12:00:00Z"',
        '"=1+1"',
        '"\\/"',
        '"\t"',
    ]
)
_INSTANTS = st.one_of(
    st.sampled_from(
        [
            '"2026-02-04T12:30:00Z"',
            '"2026-02-04T12:35:00.123Z"',
            '"2026-02-04T12:35:00.124Z"',
            '"2026-02-04t12:29:59.999999z"',
            '"2026-02-04 12:00:00+02:00"',
            '"2026-02-04T12:00:00"',
            '"2026-02-04"',
            '"2026-02-04T12:00:00.123456789123Z"',
            '"2026-02-30T00:00:00Z"',
            '"2026-02-04T24:00:00Z"',
            '"2026-02-04T23:59:60Z"',
            '"1969-12-31T23:59:59.9999Z"',
            '"0000-02-29T00:00:00Z"',
            '"9999-12-31T23:59:59-14:00"',
            '"0001-01-01T00:00:00+05:00"',
            '"2025-11-06T00:00:00Z"',
            '"2025-11-05T23:59:59.999Z"',
            '"2025-11-06T01:00:00+02:00"',
            '"2026-02-06T12:30:00.124Z"',
            '"2026-02-07T00:00:00Z"',
            '"2026-02-04T12:00:00+24:00"',
            '"2026-02-04T12:00:00 UTC"',
            '"2026-2-4T1:0:0Z"',
            '"2026-02-04T12:00:00.Z"',
            '"٢026-02-04T12:00:00Z"',
            '"2026-02-04T12:00:00Z\\n"',
            "1770206400",
        ]
    ),
    st.datetimes(datetime(2025, 11, 1), datetime(2026, 2, 8)).map(lambda at: f'"{at.isoformat()}Z"'),
    _VALUES,
)
_RECENT = st.sampled_from(
    ['"2026-02-04T12:00:00Z"', '"2026-01-02T03:04:05.678Z"', '"2026-02-04T14:00:00.5+02:00"', "null"]
)
_SPACE = st.sampled_from(["", "", "", " ", "\t", "  "])


@st.composite
def _object(draw: st.DrawFn, fields: dict[str, st.SearchStrategy[str]], optional: set[str]) -> str:
    present = [name for name in fields if name not in optional or draw(st.booleans())]
    members = [(name, draw(fields[name])) for name in present]
    if draw(st.integers(0, 5)) == 0:
        members = draw(st.permutations(members))
    if draw(st.integers(0, 11)) == 0:
        members.append((draw(st.sampled_from(["extra", "a.b", "", "é\\u0041", *fields])), draw(_VALUES)))
    space = draw(_SPACE)
    inside = f",{space}".join(f'{space}"{name}"{space}:{space}{value}' for name, value in members)
    trailing = draw(st.sampled_from([""] * 30 + [",", ", "]))
    return f"{{{inside}{trailing}{space}}}"


def _mostly(right: st.SearchStrategy[str], wrong: st.SearchStrategy[str] = _VALUES) -> st.SearchStrategy[str]:
    return st.integers(0, 39).flatmap(lambda n: right if n else wrong)


def _right(kind: str) -> st.SearchStrategy[str]:
    return {
        "string": st.sampled_from(['"720p"', '""', "null", '"ünï,\\"}"']),
        "integer": st.sampled_from(["0", "17", "null", "-3", "12345678901234567890123"]),
        "number": st.sampled_from(["0", "1.5", "null", "61.25", "1e2"]),
        "boolean": st.sampled_from(["true", "false", "null"]),
        "object": st.sampled_from(['{"os":"a","n":{"v":[1,2]}}', "{}", "null"]),
        "any": _VALUES,
    }[kind]


@st.composite
def _event(draw: st.DrawFn, data_type: str) -> str:
    kind = DATA_TYPES[data_type]
    event = draw(st.sampled_from(kind.events))
    inner = {field.name: _mostly(_right(field.type)) for field in event.fields}
    if kind.has_current_time:
        inner["currentTime"] = _mostly(st.sampled_from(["3.5", "7", "null"]))
    text = st.sampled_from(['"a"', '"b\\u00e9"', "null"])
    fields = {
        "event": _mostly(st.just(f'"{event.name}"')),
        "contentId": _mostly(st.sampled_from(['"v1"', '"v2"'])),
        "userId": _mostly(st.sampled_from(['"user_1"', '"é"'])),
        "timestamp": _mostly(_RECENT, _INSTANTS),
        "sessionId": _mostly(text),
        "deviceType": _mostly(st.sampled_from(['"ios"', '"android"', '"web"'])),
        "currentTime": _mostly(st.sampled_from(["3.5", "0", "null"])),
        "data": _mostly(_object(inner, set(inner))),
        "deviceId": _mostly(text),
        "country": _mostly(text),
        "eventId": _mostly(st.sampled_from([f'"e{i}"' for i in range(8)])),
        "receivedAt": _mostly(_RECENT, _INSTANTS),
        "dataType": st.just(f'"{data_type}"'),
    }
    required = {"event", "userId", "deviceType", "contentId"} if draw(st.integers(0, 9)) else set()
    return draw(_object(fields, set(fields) - required))


@st.composite
def _line(draw: st.DrawFn, data_type: str) -> bytes:
    line = draw(_event(data_type)).encode()
    if draw(st.integers(0, 15)) == 0:
        place = draw(st.integers(0, len(line)))
        junk = draw(
            st.sampled_from([b"", b"\xff", b",", b"}", b"{", b'"', b"\\", b"\0", b"\x0c", b" ", b"\xc2"])
        )
        line = line[:place] + junk + line[place + draw(st.integers(0, 2)) :]
    return line.replace(b"\n", b" ")


def _stored(staging: Staging, sequence: int) -> list[dict[str, Any]]:
    return [row for chunk in staging.rows(sequence) for row in chunk.to_pylist()]


@given(st.data(), st.sampled_from(sorted(DATA_TYPES)))
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
def test_lines_are_judged_as_the_reference_judges_them(
    tmp_path: Path, data: st.DataObject, data_type: str
) -> None:
    lines = data.draw(st.lists(_line(data_type), min_size=8, max_size=40))
    expected: list[reference.Row] = []
    seen: set[str] = set()
    rejected = duplicate = blank = 0
    for line in lines:
        if not line.strip(b" \t\r\n"):
            blank += 1
            continue
        try:
            row = reference.judge(line.removesuffix(b"\r"), data_type, TAKEN_AT, RETENTION)
        except reference.Rejected:
            rejected += 1
            continue
        if row.values["eventId"] in seen:
            duplicate += 1
        else:
            seen.add(row.values["eventId"])
            expected.append(row)

    landed = tmp_path / "landed.jsonl"
    landed.write_bytes(b"\n".join(lines))
    staging = Staging(validation_of(data_type, TAKEN_AT, RETENTION), tmp_path)
    staging.fill(LineReader([WaitingFile(landed, landed.stat().st_size)]).chunks())
    staging.settle_repeated()
    counts = staging.counts()
    rows = _stored(staging, 7)
    kept = [part for batch in staging.rejected(["landed.jsonl"]) for part in batch.to_pylist()]
    staging.close()

    assert counts.add_up()
    assert (counts.received, counts.accepted) == (len(lines) - blank, len(expected))
    assert (counts.rejected, counts.duplicate) == (rejected, duplicate)
    assert [row["raw"] for row in kept] == [lines[row["line"] - 1].removesuffix(b"\r") for row in kept]
    assert len(kept) == rejected
    assert counts.unknown_keys == sum(row.unknown_keys for row in expected)
    assert counts.drift == sum(row.drift for row in expected)
    assert counts.clamped == sum(row.clamped for row in expected)
    by_id = {row["eventId"]: row for row in rows}
    for row in expected:
        found = by_id[row.values["eventId"]]
        assert found.pop("batchSequence") == 7
        found["data"] = reference.read_json(found["data"])
        found["timestamp"] = reference.milliseconds(found["timestamp"])
        found["receivedAt"] = reference.milliseconds(found["receivedAt"])
        wanted = dict(row.values)
        wanted["data"] = reference.comparable(wanted["data"])
        assert found == wanted
    order = [(row["timestamp"], row["eventId"].encode()) for row in rows]
    assert order == sorted(order)


def test_the_common_form_is_judged_like_any_other(tmp_path: Path) -> None:
    """The same lines once in forms that the quick way takes, once spelled so that it takes none."""
    start = datetime(2026, 2, 4, tzinfo=UTC)

    def line(number: int, spelling: str) -> str:
        at = (start + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")
        return (
            f'{{"event":"watchProgress","contentId":"v{number % 7}","userId":"u{number % 5}",'
            f'"timestamp":"{at}",'
            f'"deviceType":"web","data":{{"currentTime":{number}.5,"rendition":"720p","bitrate":null{spelling}}},'
            f'"sessionId":null,"eventId":"e{number}"{spelling}}}'
        )

    def rows(spelling: str) -> list[dict[str, Any]]:
        path = tmp_path / "landed.jsonl"
        path.write_text("\n".join(line(number, spelling) for number in range(500)))
        staging = Staging(validation_of("events", TAKEN_AT, RETENTION), tmp_path)
        staging.fill(LineReader([WaitingFile(path, path.stat().st_size)]).chunks())
        stored = _stored(staging, 1)
        staging.close()
        return stored

    assert rows("") == rows(" ")
