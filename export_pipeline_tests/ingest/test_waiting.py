"""A day for which something landed waits until that is stored."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from threading import Event

import pytest

from export_pipeline.ingest import ingest_landing, landing, waiting, waiting_days
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.ingest.landed import ABSENT, NOW, land, line, lines


def test_nothing_waits_in_an_empty_landing_directory(settings: Settings, ledger: Ledger) -> None:
    assert waiting_days(settings, ledger, "events", now=NOW) == set()


def test_the_days_of_lines_that_will_be_accepted_wait(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    text = [
        line(timestamp="2026-02-01T10:00:00Z"),
        line(timestamp="2026-02-03T01:00:00+02:00"),
        line(timestamp="2026-01-01T00:00:00Z", event="nope"),
        line(timestamp="2020-01-01T00:00:00Z"),
        line(timestamp=ABSENT, receivedAt=ABSENT),
        "{",
    ]
    land(settings, "a.gz", "\n".join(text))
    assert waiting_days(settings, ledger, "events", now=NOW) == {date(2026, 2, d) for d in (1, 2, 4)}
    assert waiting_days(settings, ledger, "ads", now=NOW) == set()
    ingest_landing(settings, store, ledger, now=NOW)
    assert waiting_days(settings, ledger, "events", now=NOW) == set()


def test_a_file_still_being_written_makes_no_day_wait(settings: Settings, ledger: Ledger) -> None:
    land(settings, "a.jsonl.tmp", lines(1))
    assert waiting_days(settings, ledger, "events", now=NOW) == set()


def test_with_too_much_to_read_any_day_may_wait(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "READ_LIMIT", 100)
    land(settings, "a.jsonl", lines(1, 2))
    assert waiting_days(settings, ledger, "events", now=NOW) is None


def test_a_day_waits_until_the_ledger_has_what_is_in_the_store(settings: Settings, ledger: Ledger) -> None:
    land(settings, "a.jsonl", line(timestamp="2026-02-01T10:00:00Z"))
    batch = ledger.take_batch("events", "landing", ["a.jsonl"], NOW)
    landing.claim(settings, "events", batch.id, batch.files)
    assert waiting_days(settings, ledger, "events", now=NOW) == {date(2026, 2, 1)}
    landing.mark_stored(settings, "events", batch.id)
    assert waiting_days(settings, ledger, "events", now=NOW) == {date(2026, 2, 1)}
    ledger.commit_batch(batch.id, Counts(1, 1), {date(2026, 2, 1): 1}, NOW)
    assert waiting_days(settings, ledger, "events", now=NOW) == set()


def test_files_can_be_looked_at_while_they_are_taken(settings: Settings) -> None:
    place = landing.folder(settings, "events")
    ended = Event()

    def look() -> int:
        looks = 0
        while not ended.is_set():
            landing.waiting_files(settings, "events")
            landing.claimed_files(settings, "events", "b")
            looks += 1
        return looks

    with ThreadPoolExecutor(1) as other:
        looking = other.submit(look)
        try:
            for _ in range(20):
                for n in range(50):
                    land(settings, f"{n}.jsonl", "")
                landing.claim(settings, "events", "b", [path.name for path in place.iterdir()])
                landing.mark_stored(settings, "events", "b")
                landing.remove_stored(settings)
        finally:
            ended.set()
        assert looking.result() > 0
