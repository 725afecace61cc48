"""Raw events and the quarantine go by whole days once they are outside retention, and from the disk."""

import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from export_pipeline.errors import OutsideRetention
from export_pipeline.exports import export_day, parse_request, write_export
from export_pipeline.ingest import quarantine
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.tables import ALL_TABLES
from export_pipeline.store.views import query, records
from export_pipeline_tests.retention.conftest import NOW, Fill, Round, ago, noon
from export_pipeline_tests.retention.process import die

MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
KILLED_AT = ("retention.closed", "retention.dropped", "maintenance.expired", "retention.deleted")


def days_held(settings: Settings, store: Store) -> list[date]:
    found = query(settings, store, "select distinct timestamp::date as d from engagement_events order by d")
    return [date.fromisoformat(row["d"]) for row in records(found)]


def files_of(settings: Settings, day: date) -> list[Path]:
    return [path for path in settings.store.rglob("*") if path.is_file() and f"day={day}" in str(path)]


@pytest.mark.backends("s3")
def test_the_ninetieth_day_is_kept_and_the_one_before_goes_at_midnight(
    fill: Fill, round_: Round, settings: Settings, store: Store, ledger: Ledger
) -> None:
    for days in (89, 90, 91):
        fill(ago(days))
    assert round_(MIDNIGHT)["engagement_events"].rows == 3
    assert days_held(settings, store) == [ago(90), ago(89)]
    assert sorted(ledger.known_days("events")) == [ago(90), ago(89)]
    assert round_(MIDNIGHT + timedelta(days=1, microseconds=-1))["engagement_events"].rows == 0
    assert round_(MIDNIGHT + timedelta(days=1))["engagement_events"].rows == 3
    assert days_held(settings, store) == [ago(89)]


def test_what_goes_leaves_no_file_and_is_counted(fill: Fill, round_: Round, settings: Settings) -> None:
    fill(ago(100), 4)
    fill(ago(95), 5)
    fill(ago(100), 2, "ads")
    fill(ago(1))
    before = {path: path.stat().st_size for d in (100, 95) for path in files_of(settings, ago(d))}
    events = [path for path in before if "engagement_events" in str(path)]
    removed = round_()
    assert (removed["engagement_events"].rows, removed["ad_events"].rows) == (9, 2)
    assert removed["engagement_events"].files == len(events)
    assert removed["engagement_events"].bytes == sum(before[path] for path in events)
    assert not any(path.exists() or path.parent.exists() for path in before)
    assert files_of(settings, ago(1))


def test_twice_is_as_good_as_once_and_late_as_good_as_every_day(
    fill: Fill, round_: Round, settings: Settings, store: Store
) -> None:
    for days in range(80, 100):
        fill(ago(days), 1)
    round_(NOW - timedelta(days=5))
    first = round_()
    assert first["engagement_events"].rows == 5
    again = round_()
    assert again["engagement_events"] == again["orphans"] == type(first["orphans"])()
    assert days_held(settings, store) == [ago(days) for days in range(90, 79, -1)]


def test_a_dry_run_says_the_same_and_changes_nothing(
    fill: Fill, round_: Round, settings: Settings, store: Store
) -> None:
    fill(ago(100), 4)
    fill(ago(1))
    for name in ALL_TABLES:
        store.table(name)
    before = {path: path.read_bytes() for path in settings.store.rglob("*") if path.is_file()}
    expected = round_(dry_run=True)
    assert {path: path.read_bytes() for path in settings.store.rglob("*") if path.is_file()} == before
    removed = round_()
    assert removed["engagement_events"] == expected["engagement_events"]
    assert expected["engagement_events"].rows == 4


@pytest.mark.parametrize("point", KILLED_AT)
def test_killed_anywhere_the_next_round_completes_it(
    point: str, fill: Fill, round_: Round, settings: Settings, store: Store, ledger: Ledger
) -> None:
    fill(ago(95), 4)
    fill(ago(2))
    die(settings, NOW, point)
    assert round_()["engagement_events"].rows == 4
    assert not files_of(settings, ago(95))
    assert days_held(settings, store) == [ago(2)]
    assert list(ledger.known_days("events")) == [ago(2)]


def test_a_day_that_was_dropped_stays_outside_retention_whatever_the_settings_say(
    fill: Fill, round_: Round, settings: Settings, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    fill(ago(95))
    round_()
    longer = settings.model_copy(update={"raw_retention_days": 120})
    asked = parse_request({"startDate": str(ago(95)), "endDate": str(ago(94))}, now=NOW, settings=longer)
    with pytest.raises(OutsideRetention, match="no longer kept"):
        write_export(asked, tmp_path / "out", settings=longer, store=store, ledger=ledger, now=NOW)
    assert not (tmp_path / "out").exists()


def test_an_export_from_which_the_day_is_taken_away_fails_instead_of_being_empty(
    fill: Fill, round_: Round, settings: Settings, store: Store, ledger: Ledger
) -> None:
    fill(ago(90), 50)
    tomorrow = MIDNIGHT + timedelta(days=1)
    files = Store.files

    class Beside(Store):
        def files(self, *args: object) -> list[str]:
            planned = files(self, *args)  # type: ignore[arg-type]
            thread = threading.Thread(target=round_, args=(tomorrow,))
            thread.start()
            thread.join()
            return planned

    with pytest.raises(OutsideRetention):
        export_day(
            "events", "jsonl", ago(90),
            settings=settings, store=Beside(settings), ledger=ledger, now=NOW,
        )  # fmt: skip
    assert not list(settings.exports.rglob("manifest.json"))


def test_the_quarantine_goes_by_the_day_its_lines_were_taken(
    round_: Round, settings: Settings, ledger: Ledger
) -> None:
    rejected = pa.RecordBatch.from_pylist(
        [{"file": "a", "line": 1, "reason": "x", "field": None, "detail": "", "raw": b"{"}] * 3
    )
    for days in (90, 91):
        batch = ledger.take_batch("events", "landing", ["a"], noon(ago(days)))
        quarantine.write(settings, batch, iter([rejected]))
    removed = round_()["quarantine"]
    assert (removed.rows, removed.files) == (3, 1)
    assert [entry.day for entry in quarantine.list_quarantined(settings)] == [ago(90)]
    assert round_()["quarantine"].rows == 0
