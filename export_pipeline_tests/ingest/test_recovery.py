"""An ingest that dies at any point, or meets another one, loses no line and stores none twice."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest

from export_pipeline.ingest import ingest_landing, ingest_paths, list_quarantined, replay, waiting_days
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.store import Store
from export_pipeline_tests.ingest.landed import NOW, event_ids, kept, land, left_over, lines, stored
from export_pipeline_tests.ingest.process import die, start

STAGES = ("taken", "claimed", "staged", "quarantined", "stored", "marked", "committed")


def totals(ledger: Ledger) -> dict[str, Counts]:
    return {target: counts for target, (counts, _) in ledger.totals().items()}


@pytest.mark.parametrize("point", STAGES)
def test_an_ingest_killed_at_a_stage_is_put_right_by_the_next(settings, store, ledger, point):
    land(settings, "a.jsonl", lines(1, 2, 2) + "{\n")
    land(settings, "b.gz", lines(2, 3))
    die(settings, "landing", NOW, point)
    # A file that was not claimed yet keeps its name; one that was leaves the name to another.
    land(settings, "c.jsonl" if point == "taken" else "a.jsonl", lines(3, 4))
    ingest_landing(settings, store, ledger, now=NOW)
    assert totals(ledger)["events"] == Counts(received=8, accepted=4, rejected=1, duplicate=3)
    assert event_ids(store) == ["e1", "e2", "e3", "e4"]
    assert {row["eventId"]: row["batchSequence"] for row in stored(store)} == {
        "e1": 1,
        "e2": 1,
        "e3": 1,
        "e4": 2,
    }
    assert [row["raw"] for row in kept(settings)] == [b"{"]
    days = ledger.read_days("events", NOW.date(), NOW.date())
    assert (days.watermark, days[NOW.date()].version, days[NOW.date()].rows) == (2, 2, 4)
    assert left_over(settings) == []
    assert ledger.open_batches() == []


@pytest.mark.parametrize("point", ["taken", "quarantined", "stored"])
def test_given_files_of_a_killed_ingest_can_be_given_again(settings, store, ledger, tmp_path, point):
    path = tmp_path / "events" / "a.jsonl"
    path.parent.mkdir()
    path.write_text(lines(1, 2) + "{\n")
    die(settings, path, NOW, point)
    ingest_paths(settings, store, ledger, [path], now=NOW)
    assert event_ids(store) == ["e1", "e2"]
    assert totals(ledger)["events"].accepted == 2
    assert len(kept(settings)) == totals(ledger)["events"].rejected
    assert left_over(settings) == []


@pytest.mark.parametrize("point", ["taken", "quarantined", "stored", "marked"])
def test_a_replay_that_was_killed_keeps_each_line_once(settings, store, ledger, point):
    strict = settings.model_copy(update={"raw_retention_days": 1})
    land(settings, "a.jsonl", lines(1).replace("2026-02-04", "2026-01-20") + "{\n")
    ingest_landing(strict, store, ledger, now=NOW)
    assert [entry.reasons for entry in list_quarantined(settings)] == [{"too_late": 1, "not_json": 1}]
    die(settings, "replay", NOW, point)
    replay(settings, store, ledger, now=NOW)
    assert event_ids(store) == ["e1"]
    assert [(row["file"], row["line"], row["raw"]) for row in kept(settings)] == [("a.jsonl", 2, b"{")]
    assert sum(rows.rows for rows in ledger.known_days("events").values()) == 1


def test_a_day_waits_while_a_batch_for_it_was_cut_short(settings, store, ledger):
    land(settings, "a.jsonl", lines(1))
    die(settings, "landing", NOW, "claimed")
    assert waiting_days(settings, ledger, "events", now=NOW) == {NOW.date()}
    ingest_landing(settings, store, ledger, now=NOW)
    assert waiting_days(settings, ledger, "events", now=NOW) == set()


@pytest.mark.backends("postgres")
def test_killed_at_any_time_again_and_again_nothing_is_lost_or_twice(settings, store, ledger):
    small = settings.model_copy(update={"batch_bytes": 20_000})
    for number in range(40):
        land(settings, f"{number:02}.jsonl", lines(*range(number * 20, number * 20 + 20)) + "{\n")
    for delay in (0.1, 0.3, 0.5, 0.7, 0.9):
        running = start(small, "landing", NOW)
        time.sleep(delay)
        running.kill()
        running.join()
    ingest_landing(settings, store, ledger, now=NOW)
    assert totals(ledger)["events"] == Counts(received=840, accepted=800, rejected=40)
    assert event_ids(store) == sorted(f"e{number}" for number in range(800))
    assert len(kept(settings)) == 40
    assert left_over(settings) == []


@pytest.mark.backends("postgres")
def test_two_ingests_at_once_store_each_line_once(settings, store, ledger):
    for number in range(30):
        land(settings, f"{number:02}.jsonl", lines(number, 100))
    both = [start(settings, "landing", NOW), start(settings, "landing", NOW)]
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert totals(ledger)["events"] == Counts(received=60, accepted=31, duplicate=29)
    assert event_ids(store) == sorted([f"e{number}" for number in range(30)] + ["e100"])


def test_threads_of_one_process_take_turns_too(settings, store, ledger):
    land(settings, "a.jsonl", lines(1))

    def run(_: int) -> int:
        report = ingest_landing(settings, Store(settings), Ledger(settings), now=NOW)
        return report.counts.get("events", Counts()).accepted

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(run, range(3))) == [0, 0, 1]


def test_a_batch_whose_files_were_taken_away_is_ended_with_what_is_left(settings, store, ledger):
    land(settings, "a.jsonl", lines(1))
    gone = land(settings, "b.jsonl", lines(2))
    die(settings, "landing", NOW, "taken")
    gone.unlink()
    ingest_landing(settings, store, ledger, now=NOW)
    assert event_ids(store) == ["e1"]
    assert ledger.open_batches() == []


def test_what_a_report_says_is_what_the_ledger_says(settings, store, ledger):
    land(settings, "a.jsonl", lines(1, 1, 2) + "nope\n")
    report = ingest_landing(settings, store, ledger, now=NOW)
    assert report.counts == totals(ledger)
    assert report.days == {"events": {NOW.date(): 2}}
    public = json.loads(json.dumps(report.to_json()))["dataTypes"]["events"]
    assert public.items() <= asdict(report.counts["events"]).items()
