"""The ledger counts every line once and raises a day's version when its rows change."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text

from export_pipeline.errors import Conflict
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.settings import Settings

pytestmark = pytest.mark.backends("postgres")

NOW = datetime(2026, 11, 20, 12, 30, 15, 123456, tzinfo=UTC)
DAY = date(2026, 11, 20)
NEXT = DAY + timedelta(days=1)


def take(ledger: Ledger, target: str = "events") -> str:
    return ledger.take_batch(target, "landing", ["a.jsonl"], NOW).id


def test_sequence_numbers_rise_in_the_order_in_which_batches_are_taken(ledger: Ledger) -> None:
    batches = [ledger.take_batch(target, "landing", [], NOW) for target in ("events", "ads", "events")]
    assert [batch.sequence for batch in batches] == [1, 2, 3]


def test_batches_taken_at_the_same_time_get_different_sequence_numbers(settings: Settings) -> None:
    def taken(_: int) -> int:
        return Ledger(settings).take_batch("events", "landing", [], NOW).sequence

    with ThreadPoolExecutor(8) as pool:
        sequences = list(pool.map(taken, range(24)))
    assert sorted(sequences) == list(range(1, 25))


def test_an_open_batch_comes_back_as_it_was_taken(ledger: Ledger) -> None:
    taken = ledger.take_batch("events", "landing", ["b.jsonl", "c.jsonl"], NOW)
    assert ledger.open_batches() == [taken]
    assert ledger.open_batches("ads") == []


def test_a_committed_batch_raises_the_version_of_the_days_it_changed_and_no_other(ledger: Ledger) -> None:
    ledger.commit_batch(take(ledger), Counts(received=2, accepted=2), {DAY: 2}, NOW)
    ledger.commit_batch(take(ledger), Counts(received=4, accepted=3, rejected=1), {DAY: 1, NEXT: 2}, NOW)
    days = ledger.read_days("events", DAY, NEXT)
    assert (days[DAY].version, days[DAY].rows) == (2, 3)
    assert (days[NEXT].version, days[NEXT].rows) == (1, 2)
    assert ledger.read_days("ads", DAY, NEXT)[DAY].version == 0


def test_a_batch_without_accepted_rows_raises_no_version(ledger: Ledger) -> None:
    ledger.commit_batch(take(ledger), Counts(received=1, duplicate=1), {DAY: 0}, NOW)
    assert ledger.read_days("events", DAY, DAY)[DAY].version == 0


def test_rows_of_an_open_batch_are_above_the_watermark(ledger: Ledger) -> None:
    ledger.commit_batch(take(ledger), Counts(received=1, accepted=1), {DAY: 1}, NOW)
    other = take(ledger, "ads")
    open_batch = take(ledger)
    assert ledger.read_days("events", DAY, DAY).watermark == 2
    ledger.commit_batch(open_batch, Counts(received=1, accepted=1), {DAY: 1}, NOW)
    assert ledger.read_days("events", DAY, DAY).watermark == 3
    assert [batch.id for batch in ledger.open_batches()] == [other]


def test_counts_that_do_not_add_up_are_refused_and_leave_the_batch_open(ledger: Ledger) -> None:
    batch = take(ledger)
    with pytest.raises(ValueError, match="do not add up"):
        ledger.commit_batch(batch, Counts(received=3, accepted=2), {DAY: 2}, NOW)
    assert [b.id for b in ledger.open_batches()] == [batch]


def test_a_batch_ends_once(ledger: Ledger) -> None:
    batch = take(ledger)
    ledger.abandon_batch(batch, NOW)
    with pytest.raises(Conflict, match="has ended"):
        ledger.commit_batch(batch, Counts(), {}, NOW)
    assert ledger.open_batches() == []


def test_totals_add_the_committed_batches_of_each_target(ledger: Ledger) -> None:
    ledger.commit_batch(take(ledger), Counts(received=2, accepted=1, rejected=1), {DAY: 1}, NOW)
    ledger.commit_batch(take(ledger), Counts(received=1, duplicate=1), {}, NOW)
    ledger.abandon_batch(take(ledger), NOW)
    counts, last = ledger.totals()["events"]
    assert counts == Counts(received=3, accepted=1, rejected=1, duplicate=1)
    assert last == NOW


def test_the_later_erasure_of_a_person_counts(ledger: Ledger) -> None:
    ledger.suppress_all(["abc"], NOW)
    ledger.suppress_all(["abc"], NOW - timedelta(days=1))
    assert ledger.suppressions().to_pylist() == [{"key_hash": "abc", "erased_at": NOW}]


def test_a_watermark_is_kept_for_each_source_and_target_and_never_moves_back(ledger: Ledger) -> None:
    assert ledger.read_to("a.duckdb", "events") is None
    ledger.move_watermark("a.duckdb", "events", NOW)
    ledger.move_watermark("a.duckdb", "events", NOW - timedelta(hours=1))
    assert ledger.read_to("a.duckdb", "events") == NOW
    assert ledger.read_to("a.duckdb", "ads") is None


@pytest.mark.backends
def test_the_database_keeps_no_deleted_bytes_and_lets_readers_beside_a_writer(
    settings: Settings, ledger: Ledger
) -> None:
    engine = ledger._engine
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA secure_delete")).scalar() == 1
    plain = create_engine(f"sqlite:///{settings.root}/ledger.db")
    with engine.begin() as writing, plain.connect() as reading:
        writing.execute(text("delete from batches"))
        assert reading.execute(text("select count(*) from batches")).scalar() == 0


def test_a_ledger_opened_by_many_at_once_is_migrated_once(settings: Settings) -> None:
    with ThreadPoolExecutor(6) as pool:
        ledgers = list(pool.map(lambda _: Ledger(settings), range(6)))
    assert ledgers[0].open_batches() == []


def test_a_lock_is_held_by_one_at_a_time(ledger: Ledger) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        with ledger.lock("x"):
            inside += 1
            most = max(most, inside)
            threading.Event().wait(0.01)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_the_death_of_its_holder_frees_a_lock(environment: dict[str, str], ledger: Ledger) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\n"
            "from export_pipeline.settings import load\n"
            "from export_pipeline.ledger import Ledger\n"
            "with Ledger(load()).lock('x'):\n"
            "    print('held', flush=True)\n"
            "    time.sleep(60)\n",
        ],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    holder.kill()
    holder.wait()
    with ledger.lock("x"):
        pass
