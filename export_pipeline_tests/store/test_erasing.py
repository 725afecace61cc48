"""Erasing people from a table takes their rows and their ids, and nothing else."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from export_pipeline import objects
from export_pipeline.errors import DamagedData
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.editing import Edit
from export_pipeline.store.erasing import Erased, erase, find, forget_replaced
from export_pipeline.store.maintenance import compact_day
from export_pipeline_tests.rows import NOON, in_store, row, table

EVENTS = "engagement_events"
DAY = NOON.date()
PERSON, OTHER = "user_00000001", "user_00000002"
REQUEST = "era_1"


class Words:
    """Ids between characters that are no letters, digits, ``_`` or ``-``."""

    def __init__(self, *ids: str) -> None:
        self._found = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, ids))})(?![\w-])")

    def spans_in_values(self, values: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        found = [
            (at, *match.span())
            for at, value in enumerate(values.to_pylist())
            for match in self._found.finditer(value or "")
        ]
        spans = np.array(found, np.int64).reshape(-1, 3)
        return spans[:, 0], spans[:, 1:]

    def replace(self, values: pa.Array) -> tuple[pa.ChunkedArray, int]:
        texts = [value and self._found.sub("[erased]", value) for value in values.to_pylist()]
        return pa.chunked_array([pa.array(texts, values.type)]), len(self.spans_in_values(values)[0])

    def marks(self, values: pa.Array) -> pa.Array:
        found = set(self.spans_in_values(values)[0].tolist())
        marks = [f"-{len(v)}" if at in found else "" for at, v in enumerate(values.to_pylist())]
        return pa.array(marks, values.type)


def edit(*ids: str, watermark: int = 100, keep: tuple[str, ...] = ()) -> Edit:
    return Edit(dict.fromkeys((*ids, *keep), (REQUEST,)), Words(*ids), watermark)


def append(store: Store, *rows: Mapping[str, Any]) -> None:
    batch = {"batch": f"b{rows[0]['batchSequence']}"}
    store.append(EVENTS, [table(rows)], batch)


def stored(store: Store) -> list[dict[str, object]]:
    return sorted(in_store(store, EVENTS).to_pylist(), key=lambda r: r["eventId"])


def on_disk(settings: Settings) -> bytes:
    return b"".join(path.read_bytes() for path, _, _ in objects.files_below(settings.store))


@pytest.fixture
def uncompressed(monkeypatch: pytest.MonkeyPatch) -> None:
    from export_pipeline.store import tables

    level = "write.parquet.compression-level"
    properties = {name: value for name, value in tables.PROPERTIES.items() if name != level}
    properties["write.parquet.compression-codec"] = "uncompressed"
    monkeypatch.setattr("export_pipeline.store.store.PROPERTIES", properties)


def test_events_named_after_a_person_stay_different_events(settings: Settings, store: Store) -> None:
    append(store, row(1, userId=OTHER, eventId=PERSON), row(1, userId=OTHER, eventId=f"{PERSON}:"))
    erase(settings, store, EVENTS, edit(PERSON), "pass")
    assert [r["eventId"] for r in stored(store)] == ["[erased]-13", "[erased]:-14"]


@pytest.mark.backends("s3")
def test_the_rows_of_a_person_go_and_every_other_row_stays_as_it_is(settings: Settings, store: Store) -> None:
    append(store, *(row(n) for n in range(50)))
    others = [r for r in stored(store) if r["userId"] != PERSON]
    erased = erase(settings, store, EVENTS, edit(PERSON), "pass")
    assert stored(store) == others
    assert (erased.rows, erased.removed, erased.days) == (10, {REQUEST: 10}, {DAY: 10})


@pytest.mark.backends("s3")
def test_nothing_of_the_person_is_on_disk_afterwards_not_even_their_sessions(
    settings: Settings, store: Store, uncompressed: None
) -> None:
    append(store, *(row(n, sessionId=f"session-of-{n % 5}-x") for n in range(50)))
    assert b"session-of-1-x" in on_disk(settings)
    erase(settings, store, EVENTS, edit(PERSON), "pass")
    assert forget_replaced(store, EVENTS).files > 0
    left = on_disk(settings)
    assert PERSON.encode() not in left
    assert b"session-of-1-x" not in left
    assert b"session-of-2-x" in left


def test_an_id_inside_the_rows_of_others_is_replaced_and_counted(settings: Settings, store: Store) -> None:
    mention = f'{{"value":"to {PERSON}, {PERSON}"}}'
    append(
        store,
        row(2, data=mention),
        row(3, deviceId=PERSON),
        row(4, deviceId=PERSON),
        row(5, deviceId=None, data=f'{{"value":"{PERSON}0"}}'),
    )
    erased = erase(settings, store, EVENTS, edit(PERSON), "pass")
    rows = stored(store)
    assert [r["data"] for r in rows[:1]] == ['{"value":"to [erased], [erased]"}']
    assert [r["deviceId"] for r in rows] == [None, "[erased]", "[erased]", None]
    assert PERSON in str(rows[3]["data"])
    assert (erased.rows, erased.replaced, erased.days) == (0, 4, {DAY: 0})


def test_a_contested_id_stays_in_the_rows_of_others(settings: Settings, store: Store) -> None:
    append(store, row(2, deviceId="shared"), row(3, userId="shared", deviceId="shared"))
    erased = erase(settings, store, EVENTS, edit(PERSON, keep=("shared",)), "pass")
    assert [(r["userId"], r["deviceId"]) for r in stored(store)] == [(OTHER, "shared")]
    assert erased.rows == 1


def test_rows_that_came_later_stay(settings: Settings, store: Store) -> None:
    for batch in (1, 2, 3):
        append(store, *(row(10 * batch + n, userId=PERSON, batchSequence=batch) for n in range(3)))
    compact_day(settings, store, EVENTS, DAY)
    erased = erase(settings, store, EVENTS, edit(PERSON, watermark=2), "pass")
    assert erased.rows == 6
    assert [r["batchSequence"] for r in stored(store)] == [3, 3, 3]


@pytest.mark.backends("s3")
def test_a_row_whose_user_id_changes_is_found_in_its_bucket(settings: Settings, store: Store) -> None:
    append(store, *(row(n, userId=f"{PERSON}:{n}") for n in range(3)), row(9))
    erase(settings, store, EVENTS, edit(PERSON), "pass")
    found = store.table(EVENTS).scan(row_filter="userId == '[erased]:2'").to_arrow()
    assert found["eventId"].to_pylist() == ["evt_00000002"]
    assert len(stored(store)) == 4


def test_it_is_one_commit_and_done_again_it_is_none(settings: Settings, store: Store) -> None:
    append(store, *(row(n) for n in range(20)), *(row(n + 90_000) for n in range(20)))
    before = len(store.table(EVENTS).snapshots())
    first = erase(settings, store, EVENTS, edit(PERSON), "pass")
    append(store, row(99, userId=PERSON, batchSequence=101))
    again = erase(settings, store, EVENTS, edit(PERSON), "pass")
    assert again == first
    assert first.days == {DAY: 4, DAY + timedelta(days=1): 4}
    assert len(store.table(EVENTS).snapshots()) == before + 2
    assert Erased.from_json(first.to_json()) == first


def test_looking_changes_nothing_and_says_the_same(settings: Settings, store: Store) -> None:
    append(store, *(row(n, data=f'{{"value":"{PERSON}"}}') for n in range(20)))
    before = on_disk(settings)
    found = find(settings, store, EVENTS, edit(PERSON))
    assert on_disk(settings) == before
    assert found == erase(settings, store, EVENTS, edit(PERSON), "pass")
    assert (found.rows, found.replaced) == (4, 16)


def test_somebody_nobody_knows_costs_no_commit(settings: Settings, store: Store) -> None:
    append(store, row(1))
    before = len(store.table(EVENTS).snapshots())
    assert erase(settings, store, EVENTS, edit("nobody-at-all"), "pass") == Erased()
    assert len(store.table(EVENTS).snapshots()) == before


@pytest.mark.backends("s3")
@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_damaged_file_is_named_and_nothing_is_committed(
    settings: Settings, store: Store, damage: str
) -> None:
    append(store, *(row(n, userId=PERSON) for n in range(200)))
    (path,) = store.files(EVENTS)
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-9] if damage == "cut" else content[:40] + bytes(400) + content[440:])
    with pytest.raises(DamagedData, match=path.name):
        erase(settings, store, EVENTS, edit(PERSON), "pass")
    assert store.committed(EVENTS, "pass", "erasure") is None
