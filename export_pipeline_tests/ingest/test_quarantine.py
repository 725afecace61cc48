"""Rejected lines can be counted, looked at, and taken again after a fix."""

import gzip

import pytest

from export_pipeline.errors import DamagedData, InvalidRequest
from export_pipeline.ingest import ingest_landing, list_quarantined, replay, show
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.ingest.landed import NOW, event_ids, kept, land, line, lines

OLD = "2025-12-01T00:00:00Z"


@pytest.fixture
def batch(settings: Settings, store: Store, ledger: Ledger) -> str:
    """A batch of which two lines are too old for a retention of 30 days and one is no JSON."""
    short = settings.model_copy(update={"raw_retention_days": 30})
    land(settings, "a.jsonl", line(eventId="e1", timestamp=OLD) + "\n{\n")
    land(settings, "b.jsonl", lines(3) + line(eventId="e2", timestamp=OLD))
    return ingest_landing(short, store, ledger, now=NOW).batches[0].id


def test_the_list_counts_lines_by_batch_and_reason(settings: Settings, batch: str) -> None:
    (entry,) = list_quarantined(settings)
    assert (entry.batch_id, entry.target, entry.day, entry.lines) == (batch, "events", NOW.date(), 3)
    assert entry.reasons == {"too_late": 2, "not_json": 1}


def test_lines_of_a_batch_are_shown_with_their_place_and_reason(settings: Settings, batch: str) -> None:
    shown = show(settings, batch, limit=2)
    assert [(row["file"], row["line"], row["reason"]) for row in shown] == [
        ("a.jsonl", 1, "too_late"),
        ("a.jsonl", 2, "not_json"),
    ]
    assert shown[1]["raw"] == "{"


def test_a_batch_without_quarantined_lines_is_told(settings: Settings) -> None:
    with pytest.raises(InvalidRequest, match="batchId is no such id; it must be that of a batch with lines"):
        show(settings, "bat_x", 10)


def test_lines_that_are_right_now_are_stored_and_leave_the_quarantine(
    settings: Settings, store: Store, ledger: Ledger, batch: str
) -> None:
    report = replay(settings, store, ledger, batch, now=NOW)
    assert report.counts == {"events": Counts(received=3, accepted=2, rejected=1)}
    assert event_ids(store) == ["e1", "e2", "e3"]
    assert [(row["file"], row["line"], row["reason"]) for row in kept(settings)] == [
        ("a.jsonl", 2, "not_json")
    ]


def test_replaying_everything_twice_changes_nothing_more(
    settings: Settings, store: Store, ledger: Ledger, batch: str
) -> None:
    replay(settings, store, ledger, now=NOW)
    again = replay(settings, store, ledger, now=NOW)
    assert again.counts == {"events": Counts(received=1, rejected=1)}
    assert [entry.reasons for entry in list_quarantined(settings)] == [{"not_json": 1}]
    assert event_ids(store) == ["e1", "e2", "e3"]


def test_what_was_no_line_stays_as_it_was(settings: Settings, store: Store, ledger: Ledger) -> None:
    land(settings, "a.gz", gzip.compress(lines(1).encode())[:-6])
    land(settings, "b.jsonl", "z" * 2_000_000)
    ingest_landing(settings, store, ledger, now=NOW)
    before = [(row["reason"], row["detail"], row["raw"]) for row in kept(settings)]
    replay(settings, store, ledger, now=NOW)
    assert [(row["reason"], row["detail"], row["raw"]) for row in kept(settings)] == before
    assert [reason for reason, _, _ in before] == ["damaged_gzip", "too_long"]


def test_a_damaged_quarantine_file_is_named(settings: Settings, batch: str) -> None:
    path = next(settings.quarantine.rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedData, match=batch):
        list_quarantined(settings)
