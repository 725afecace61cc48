"""Landing files in a bucket: each is taken once, in the version that was claimed."""

import gzip
from typing import Any

import pytest

from export_pipeline import buckets, objects
from export_pipeline.ingest import (
    batches,
    ingest_landing,
    list_quarantined,
    replay,
    waiting_days,
    waiting_files,
)
from export_pipeline.ingest.lines import LineReader
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store
from export_pipeline_tests.ingest.landed import NOW, event_ids, line, lines

pytestmark = pytest.mark.system


@pytest.fixture
def backend() -> str:
    return "s3"


@pytest.fixture
def store(environment: dict[str, str]) -> Store:
    """Tables of this machine, which are quicker; only the landing place is looked at here."""
    return Store(load({**environment, "EXPORT_PIPELINE_OBJECT_STORE": ""}))


def put(settings: Settings, name: str, content: str | bytes) -> None:
    text = content.encode() if isinstance(content, str) else content
    objects.write(settings.landing / "events" / name, text)


def left(settings: Settings) -> list[str]:
    return [found.name for found in buckets.listed(settings.landing)]


def known(ledger: Ledger) -> int:
    return sum(state.rows for state in ledger.known_days("events").values())


def test_what_landed_is_taken_and_removed_and_what_is_being_written_is_left_alone(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    names = [".a.jsonl", "_b.jsonl", "c.jsonl.tmp", "folder/d.jsonl"]
    for name in names:
        put(settings, name, lines(1))
    put(settings, "a b+ü%41.jsonl", lines(1, 2) + "{\n")
    put(settings, "z.jsonl.gz", gzip.compress(lines(2, 3).encode()))
    assert waiting_days(settings, ledger, "events", now=NOW) == {NOW.date()}
    report = ingest_landing(settings, store, ledger, now=NOW)
    assert report.counts["events"] == Counts(received=5, accepted=3, rejected=1, duplicate=1)
    assert left(settings) == sorted(f"events/{name}" for name in names)
    [entry] = list_quarantined(settings)
    assert (entry.target, entry.reasons) == ("events", {"not_json": 1})
    replay(settings, store, ledger, now=NOW)
    assert [again.reasons for again in list_quarantined(settings)] == [{"not_json": 1}]
    assert len(list(buckets.listed(settings.quarantine))) == 1


def test_a_file_written_again_while_it_is_taken_is_not_lost(
    settings: Settings, store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(settings, "a.jsonl", lines(1))
    put(settings, "b.jsonl", lines(2))
    begun = []

    class Reader(LineReader):
        def chunks(self) -> Any:
            if not begun:
                put(settings, "a.jsonl", lines(3))  # before it is read
            yield from super().chunks()
            if not begun:
                put(settings, "b.jsonl", lines(4))  # after it was read
            begun.append(True)

    monkeypatch.setattr(batches, "LineReader", Reader)
    counts = ingest_landing(settings, store, ledger, now=NOW).counts["events"]
    assert counts.accepted == known(ledger)
    assert {"e3", "e4"} <= set(event_ids(store))
    assert (left(settings), [file.path for file in waiting_files(settings, "events")]) == ([], [])


@pytest.mark.parametrize("point", ["claimed", "stored", "marked", "committed"])
def test_an_ingest_that_was_killed_is_finished_by_the_next(
    settings: Settings, store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    class Killed(BaseException):
        pass

    def die(_: Settings, reached: str) -> None:
        if reached == f"ingest.{point}":
            raise Killed

    put(settings, "a.jsonl", lines(1, 2))
    with monkeypatch.context() as patch:
        patch.setattr(batches.faults, "reach", die)
        with pytest.raises(Killed):
            ingest_landing(settings, store, ledger, now=NOW)
    if point == "claimed":
        put(settings, "b.jsonl", line(eventId="e9") + "\n")
    ingest_landing(settings, store, ledger, now=NOW)
    assert known(ledger) == (3 if point == "claimed" else 2)
    assert (left(settings), ledger.open_batches()) == ([], [])


def test_many_small_files_are_one_batch(settings: Settings, store: Store, ledger: Ledger) -> None:
    for number in range(60):
        put(settings, f"{number:05}.jsonl", lines(number))
    report = ingest_landing(settings, store, ledger, now=NOW)
    assert (report.counts["events"].accepted, len(report.batches), left(settings)) == (60, 1, [])
