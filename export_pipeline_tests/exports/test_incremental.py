"""An increment holds what was taken in since its cursor, each row once, whatever day it belongs to."""

import gzip
import json
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.errors import InvalidRequest, OutsideRetention
from export_pipeline.exports import DailyExport, Manifest, parse_request, verify, write_export
from export_pipeline.exports.service import request_export, run_job
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.privacy.erasing import erase_now
from export_pipeline.privacy.requests import request_erasures
from export_pipeline.settings import Settings
from export_pipeline.settings import load as load_settings
from export_pipeline.store import Store
from export_pipeline.store.maintenance import compact_day
from export_pipeline_tests.exports.conftest import NOW, Land
from export_pipeline_tests.exports.encoded import DAY
from export_pipeline_tests.rows import NOON, row, table

RANGE = {"startDate": "2026-11-18", "endDate": "2026-11-21"}

Exported = Callable[..., Manifest]


def back(days: float, *numbers: int, data_type: str = "events") -> list[dict[str, Any]]:
    """Rows of some days ago."""
    return [row(n, data_type, timestamp=NOON - timedelta(days=days, seconds=-n)) for n in numbers]


@pytest.fixture
def export(settings: Settings, store: Store, ledger: Ledger, tmp_path: Path) -> Exported:
    """Export what a request asks for; the last one is in ``tmp_path / "out"``."""

    def exported(**values: Any) -> Manifest:
        now = values.pop("now", NOW)
        asked = values if "cursor" in values else {**RANGE, **values}
        request = parse_request(asked, now=now, settings=settings)
        manifest = write_export(
            request, tmp_path / "out", settings=settings, store=store, ledger=ledger, now=now, overwrite=True
        )
        assert verify(tmp_path / "out").problems == ()
        return manifest

    return exported


def ids(folder: Path) -> list[str]:
    lines = [gzip.decompress(path.read_bytes()).splitlines() for path in sorted(folder.rglob("part-*"))]
    return [json.loads(line)["eventId"].lstrip("evt_0") or "0" for part in lines for line in part]


def test_it_holds_what_came_since_of_whatever_day_and_the_next_goes_on(
    land: Land, export: Exported, tmp_path: Path
) -> None:
    land(back(0, 1, 2, 3))
    first = export()
    assert (first.mode, first.since) == ("full", ())
    land([*back(0, 4), *back(30, 5)])
    land(back(1, 6))
    second = export(cursor=first.cursor)
    assert ids(tmp_path / "out") == ["5", "6", "4"]
    assert (second.mode, second.since, second.row_count) == ("incremental", (first.cursor,), 3)
    assert (second.start, second.end) == (DAY - timedelta(days=30), DAY)
    assert [(day.date, day.rows) for day in second.days] == [
        (DAY - timedelta(days=30), 1),
        (DAY - timedelta(days=1), 1),
        (DAY, 1),
    ]
    land(back(2, 7))
    third = export(cursor=second.cursor)
    assert ids(tmp_path / "out") == ["7"]
    fourth = export(cursor=third.cursor)
    assert ids(tmp_path / "out") == []
    assert (fourth.row_count, fourth.days, fourth.complete) == (0, (), True)
    assert (fourth.start, fourth.end) == (date(2026, 11, 18), date(2026, 11, 21))


def test_compaction_changes_nothing(
    land: Land, export: Exported, store: Store, settings: Settings, tmp_path: Path
) -> None:
    land(back(0, *range(1, 40)))
    first = export()
    land(back(0, *range(40, 50)))
    compact_day(settings, store, "engagement_events", DAY)
    export(cursor=first.cursor, format="csv")
    (part,) = (tmp_path / "out").rglob("part-*")
    assert len(gzip.decompress(part.read_bytes()).splitlines()) == 11


def test_files_without_such_rows_are_not_read(land: Land, store: Store) -> None:
    first = land(back(0, *range(1, 40)))
    land(back(1, 50))
    assert {day: len(paths) for day, paths in store.files_since("engagement_events", first).items()} == {
        DAY - timedelta(days=1): 1
    }


def test_daily_exports_of_a_range_and_an_increment_from_all_their_cursors_overlap_nowhere(
    land: Land, export: Exported, daily: Callable[..., DailyExport], tmp_path: Path
) -> None:
    land([*back(0, 1), *back(1, 2), *back(2, 3)])
    held, cursors = [], []
    for days, late in ((2, 11), (1, 12), (0, 13)):
        made = daily(day=DAY - timedelta(days=days))
        held += ids(made.path)
        cursors.append(made.manifest.cursor)
        # One comes for each day, between the exports of the days.
        land([*back(0, late), *back(1, late + 10), *back(2, late + 20), *back(20, late + 30)])
    export(cursor=cursors)
    held += ids(tmp_path / "out")
    assert len(held) == len(set(held)) == 3 + 12


def test_an_open_batch_holds_the_cursor_back_and_its_rows_come_later_once(
    land: Land, export: Exported, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    land(back(0, 1))
    first = export()
    slow = ledger.take_batch("events", "landing", ["slow.jsonl"], NOW)
    fast = land(back(1, 2))
    assert fast > slow.sequence
    second = export(cursor=first.cursor)
    assert ids(tmp_path / "out") == []
    late = [{**each, "batchSequence": slow.sequence} for each in back(0, 3)]
    store.append("engagement_events", [table(late)], {"batch": slow.id})
    ledger.commit_batch(slow.id, Counts(received=1, accepted=1), {DAY: 1}, NOW)
    third = export(cursor=second.cursor)
    assert ids(tmp_path / "out") == ["2", "3"]
    export(cursor=third.cursor)
    assert ids(tmp_path / "out") == []


def test_an_increment_is_of_the_types_of_its_cursor_and_filters_as_ever(
    land: Land, export: Exported, tmp_path: Path
) -> None:
    first = export(dataTypes=["ads", "events"])
    land(back(0, 1, 2, 8))
    land(back(0, 3, data_type="ads"), "ads")
    assert export(cursor=first.cursor).data_types == ("ads", "events")
    export(cursor=first.cursor, dataTypes=["events"], filters={"contentIds": ["vid_1"]})
    assert ids(tmp_path / "out") == ["1", "8"]
    with pytest.raises(InvalidRequest, match="says nothing of quality") as refused:
        export(cursor=first.cursor, dataTypes=["events", "quality"])
    assert refused.value.field == "cursor"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda cursor: cursor[:-3] + ("abc" if cursor[-3:] != "abc" else "abd"),
        lambda cursor: cursor[:10] + ("A" if cursor[10] != "A" else "B") + cursor[11:],
        lambda cursor: cursor.removeprefix("cur_"),
        lambda cursor: cursor + "=",
        lambda _: "cur_é",
        lambda _: None,
        lambda _: [],
        lambda cursor: [cursor, 7],
    ],
)
def test_a_cursor_that_was_not_made_here_is_refused(export: Exported, spoil: Callable[[Any], Any]) -> None:
    cursor = export().cursor
    with pytest.raises(InvalidRequest) as refused:
        export(cursor=spoil(cursor))
    assert refused.value.field == "cursor"


def test_a_cursor_of_another_deployment_is_refused(export: Exported, tmp_path: Path) -> None:
    cursor = export().cursor
    other = load_settings({"EXPORT_PIPELINE_HOME": str(tmp_path / "other")})
    with pytest.raises(InvalidRequest, match="comes from another deployment"):
        parse_request({"cursor": cursor}, now=NOW, settings=other)


def test_a_cursor_from_the_future_of_a_restored_ledger_is_refused(
    land: Land, export: Exported, settings: Settings, store: Store, tmp_path: Path
) -> None:
    land(back(0, 1))
    cursor = export().cursor
    (settings.root / "ledger.db").rename(tmp_path / "lost.db")
    request = parse_request({"cursor": cursor}, now=NOW, settings=settings)
    with pytest.raises(InvalidRequest, match="ahead of what"):
        write_export(
            request, tmp_path / "x", settings=settings, store=store, ledger=Ledger(settings), now=NOW
        )


def test_a_cursor_older_than_raw_retention_is_refused_and_dropped_days_are_left_out(
    land: Land, export: Exported, ledger: Ledger, tmp_path: Path
) -> None:
    first = export()
    land([*back(0, 1), *back(60, 2)])
    later = NOW + timedelta(days=40)
    export(cursor=first.cursor, now=later)
    assert ids(tmp_path / "out") == ["1"]
    ledger.keeping.close_before("events", DAY + timedelta(days=1))
    export(cursor=first.cursor)
    assert ids(tmp_path / "out") == []
    with pytest.raises(OutsideRetention) as refused:
        export(cursor=first.cursor, now=NOW + timedelta(days=91))
    assert refused.value.field == "cursor"


@pytest.mark.parametrize("name", ["startDate", "endDate"])
def test_dates_beside_a_cursor_are_refused(export: Exported, settings: Settings, name: str) -> None:
    with pytest.raises(InvalidRequest, match="together with cursor") as refused:
        parse_request({"cursor": export().cursor, name: "2026-11-20"}, now=NOW, settings=settings)
    assert refused.value.field == name


def test_a_job_can_be_an_increment_and_tells_its_range_once_it_knows_it(
    land: Land, export: Exported, settings: Settings, store: Store, ledger: Ledger
) -> None:
    first = export()
    land(back(40, 1, 2))
    values = {"cursor": first.cursor}
    job = request_export(settings, store, ledger, values, now=NOW, created_by="command")
    assert job.estimated_rows == 2
    done = run_job(settings, store, ledger, job.id, 1, clock=lambda: NOW)
    day = str(DAY - timedelta(days=40))
    assert (done.rows, done.request["dateRange"]) == (2, {"start": day, "end": day})
    assert verify(settings.exports).problems == ()


def test_the_cursor_is_no_part_of_the_bytes(land: Land, export: Exported) -> None:
    land(back(0, *range(20)))
    before = export()
    land(back(0, 50, data_type="ads"), "ads")
    after = export()
    assert before.cursor != after.cursor
    assert before.files == after.files


def test_after_an_erasure_the_person_is_in_no_increment_and_the_cursor_goes_on(
    land: Land, export: Exported, settings: Settings, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    first = export()
    land(back(0, *range(1, 11)))
    asked = partial(request_erasures, ledger, ["user_00000003"], now=NOW, created_by="command")
    erase_now(settings, store, ledger, asked, clock=lambda: NOW)
    land(back(1, 21, 22))
    second = export(cursor=first.cursor)
    assert sorted(map(int, ids(tmp_path / "out"))) == [1, 2, 4, 5, 6, 7, 9, 10, 21, 22]
    land(back(2, 31))
    export(cursor=second.cursor)
    assert ids(tmp_path / "out") == ["31"]
