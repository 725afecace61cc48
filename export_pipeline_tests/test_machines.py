"""Several machines with one PostgreSQL database: each thing is done once, and outages lose nothing."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from export_pipeline import buckets, objects
from export_pipeline.errors import Conflict, DamagedData, TransientError
from export_pipeline.exports.publishing import making, sweep_unpublished
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.jobs import NewJob
from export_pipeline.locks import confirm, is_held, lock, lock_soon, members, sessions
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store
from export_pipeline_tests.conditions import until
from export_pipeline_tests.postgres import Server, name_of
from export_pipeline_tests.rows import row, table

pytestmark = pytest.mark.system

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
EVENTS = "engagement_events"
LOCKS = "pid in (select pid from pg_locks where locktype = 'advisory')"


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "postgres"))


@pytest.fixture
def other(environment: dict[str, str], tmp_path: Path) -> Settings:
    """Another machine of the deployment: a state root of its own, the same database."""
    return load({**environment, "EXPORT_PIPELINE_HOME": str(tmp_path / "other")})


@contextmanager
def holding(environment: dict[str, str], home: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of another machine that holds the lock ``x`` and belongs to the group ``x``."""
    program = (
        "import time\nfrom export_pipeline.locks import joined, lock\n"
        "from export_pipeline.settings import load\n"
        "with lock(load(), 'x'), joined(load(), 'x'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    environ = {**os.environ, **environment, "EXPORT_PIPELINE_HOME": str(home)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_is_held_on_one_machine_until_its_holder_dies(
    environment: dict[str, str], settings: Settings, tmp_path: Path
) -> None:
    with holding(environment, tmp_path / "other") as process:
        assert is_held(settings, "x")
        assert len(members(settings, "x")) == 1
        with pytest.raises(Conflict, match="x is held"), lock_soon(settings, "x", 0.2):
            pass
        process.kill()
        with lock_soon(settings, "x", 10):
            assert is_held(settings, "x")
    assert not is_held(settings, "x")
    until = time.monotonic() + 10
    while members(settings, "x") and time.monotonic() < until:
        time.sleep(0.02)
    assert not members(settings, "x")


def test_looking_at_a_lock_takes_it_from_nobody(settings: Settings, other: Settings) -> None:
    done = threading.Event()

    def looking() -> None:
        while not done.is_set():
            is_held(other, "x")

    looker = threading.Thread(target=looking)
    looker.start()
    try:
        for _ in range(100):
            with lock_soon(settings, "x", 0):
                pass
    finally:
        done.set()
        looker.join()


def test_two_deployments_on_one_server_do_not_share_locks(
    environment: dict[str, str], settings: Settings, postgres_server: Server
) -> None:
    another = postgres_server.new()
    try:
        with (
            lock(settings, "x"),
            lock_soon(load({**environment, "EXPORT_PIPELINE_DATABASE": another}), "x", 1),
        ):
            pass
    finally:
        postgres_server.retire(another)


def test_who_loses_a_lock_is_told_before_anything_is_published(
    settings: Settings, other: Settings, postgres_server: Server, database: str, tmp_path: Path
) -> None:
    store = Store(settings)
    store.table(EVENTS)
    final = settings.data / "exports" / "final"
    with pytest.raises(TransientError, match="held the lock x broke"), lock(settings, "x"):  # noqa: PT012
        confirm()
        assert postgres_server.end_sessions(name_of(database), LOCKS)
        with lock_soon(other, "x", 10):
            with (
                making(settings, tmp_path, final) as made,
                pytest.raises(TransientError, match="held the lock x broke"),
            ):
                made.publish()
            with pytest.raises(TransientError, match="held the lock x broke"):
                store.append(EVENTS, [table([row(1)])], {"batch": "b1"})
    confirm()
    assert not final.exists()
    assert store.files(EVENTS) == []


def test_what_went_wrong_is_not_hidden_by_a_lost_lock(
    settings: Settings, postgres_server: Server, database: str
) -> None:
    with pytest.raises(ZeroDivisionError), lock(settings, "x"):  # noqa: PT012
        postgres_server.end_sessions(name_of(database), LOCKS)
        raise ZeroDivisionError
    with lock_soon(settings, "x", 10):
        pass


def test_a_lock_that_another_thread_gave_back_meanwhile_is_not_taken_for_lost(settings: Settings) -> None:
    taken = sessions.take(settings, "x")
    assert taken is not None
    with taken:
        taken.confirm()
    taken.confirm()


def test_machines_take_batches_and_jobs_each_once(settings: Settings, other: Settings) -> None:
    ledgers = [Ledger(settings), Ledger(other)]
    new = NewJob({"filters": {}}, [], 1, 1, NOW, "command")
    jobs = [ledgers[0].jobs.create(new, NOW) for _ in range(10)]

    def take(number: int) -> int:
        return ledgers[number % 2].take_batch("events", "landing", [], NOW).sequence

    def start(number: int) -> str | None:
        try:
            return ledgers[number % 2].jobs.start(jobs[number // 4].id, 1, NOW).id
        except Conflict:
            return None

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(take, range(80))) == list(range(1, 81))
        started = [each for each in threads.map(start, range(40)) if each]
    assert sorted(started) == sorted(job.id for job in jobs)
    assert ledgers[1].last_batches(1)[0].taken_at == NOW


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restart", "crash"])
def test_a_server_that_goes_and_comes_back_loses_nothing_and_is_found_again(
    settings: Settings, other: Settings, postgres_server: Server, how: signal.Signals
) -> None:
    ledgers = [Ledger(settings), Ledger(other)]
    stop, unexpected = threading.Event(), list[BaseException]()
    taken, failed = list[str](), list[int]()

    def work(ledger: Ledger) -> None:
        while not stop.is_set():
            try:
                taken.append(ledger.take_batch("events", "landing", [], NOW).id)
            except OperationalError:
                failed.append(1)
                time.sleep(0.02)
            except BaseException as error:
                unexpected.append(error)
                return

    threads = [threading.Thread(target=work, args=(ledger,)) for ledger in ledgers * 2]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(taken) > len(threads))
        postgres_server.stop(how)
        before, tried = len(taken), len(failed)
        until(lambda: len(failed) > tried + len(threads))
        postgres_server.start()
        until(lambda: len(taken) >= before + 20 or unexpected)
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    assert unexpected == []
    assert len(taken) >= before + 20
    batches = ledgers[0].last_batches(10_000)
    # One whose answer was lost is there too; it is open, and put right as after a death.
    assert {*taken} <= {batch.id for batch in batches}
    assert len(batches) - len(taken) <= len(threads)
    assert sorted(batch.sequence for batch in batches) == list(range(1, len(batches) + 1))


def test_a_commit_whose_answer_was_lost_stores_its_rows_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyiceberg.catalog.sql import SqlCatalog

    store, lost = Store(settings), []
    store.table(EVENTS)
    committed = SqlCatalog.commit_table

    def commit(self: SqlCatalog, *given: Any) -> Any:
        done = committed(self, *given)
        if not lost:
            lost.append(1)
            raise OperationalError("commit", {}, Exception("server closed the connection unexpectedly"))
        return done

    monkeypatch.setattr(SqlCatalog, "commit_table", commit)
    store.append(EVENTS, [table([row(1)])], {"batch": "b1"})
    assert lost
    assert len(store.files(EVENTS)) == 1
    assert store.table(EVENTS).scan().to_arrow().num_rows == 1


def test_a_server_that_is_away_is_told_without_a_trace(
    environment: dict[str, str], settings: Settings, postgres_server: Server
) -> None:
    store = Store(settings)
    postgres_server.stop()
    try:
        for opened in (Ledger, lambda _: store.files(EVENTS)):
            with pytest.raises(TransientError, match="database cannot be reached or is busy"):
                opened(settings)
        program = [sys.executable, "-m", "export_pipeline", "status"]
        done = subprocess.run(program, env={**os.environ, **environment}, capture_output=True, text=True)
    finally:
        postgres_server.start()
    assert done.returncode == 1
    assert done.stderr.startswith("export-pipeline: the database cannot be reached")
    assert done.stderr.count("\n") == 1
    Ledger(settings)
    assert store.files(EVENTS) == []


@pytest.mark.parametrize("schema", ["export_pipeline", "export_pipeline_catalog"])
def test_a_lost_schema_is_not_made_anew_beside_stored_rows(
    settings: Settings, postgres_server: Server, database: str, schema: str
) -> None:
    Ledger(settings)
    Store(settings).append(EVENTS, [table([row(1)])], {"batch": "b1"})
    postgres_server.run(f"drop schema {schema} cascade", name_of(database))
    for made in (None, f"create schema {schema}"):
        if made:
            postgres_server.run(made, name_of(database))
        with pytest.raises(DamagedData, match=f"schema {schema} of the database is missing or empty while"):
            (Ledger(settings), Store(settings).files(EVENTS))


def test_a_ledger_of_a_newer_program_is_told(
    settings: Settings, postgres_server: Server, database: str
) -> None:
    Ledger(settings)
    postgres_server.run("update export_pipeline.alembic_version set version_num = '9000'", name_of(database))
    with pytest.raises(Conflict, match="the ledger has revision 9000, made by a newer program"):
        Ledger(settings)


def test_an_empty_database_is_made_ready_once_by_all_who_come(
    environment: dict[str, str], settings: Settings, other: Settings, postgres_server: Server
) -> None:
    name = "empty_at_first"
    postgres_server.run(f"create database {name}")
    try:
        homes = [str(settings.root), str(other.root)] * 3
        fresh = {**environment, "EXPORT_PIPELINE_DATABASE": postgres_server.url(name)}
        each = [load({**fresh, "EXPORT_PIPELINE_HOME": home}) for home in homes]
        with ThreadPoolExecutor(6) as threads:
            ledgers = list(threads.map(Ledger, each))
            assert list(threads.map(lambda one: Store(one).files(EVENTS), each)) == [[]] * 6
        assert ledgers[0].open_batches() == []
    finally:
        postgres_server.run(f"drop database {name} with (force)")


def test_a_user_who_may_not_make_tables_is_told(
    environment: dict[str, str], settings: Settings, postgres_server: Server
) -> None:
    name = "of_somebody_else"
    postgres_server.run(f"create database {name}")
    postgres_server.run("alter role exports nosuperuser", user="postgres")
    try:
        postgres_server.run(f"alter database {name} owner to postgres", user="postgres")
        poor = load({**environment, "EXPORT_PIPELINE_DATABASE": postgres_server.url(name)})
        with pytest.raises(DamagedData, match="the database cannot be used: permission denied"):
            Ledger(poor)
    finally:
        postgres_server.run("alter role exports superuser", user="postgres")
        postgres_server.run(f"drop database {name} with (force)")


def test_texts_that_postgres_cannot_hold_are_kept_as_near_as_can_be(ledger: Ledger) -> None:
    key, _ = ledger.keys.create(["privacy"], NOW, "a\0b")
    assert [each.name for each in ledger.keys.list()] == ["a\ufffdb"]
    with pytest.raises(Conflict):
        ledger.keys.revoke(ledger.keys.revoke(key.id, NOW).id, NOW)


def test_sessions_of_a_machine_that_has_gone_are_ended_by_the_server(
    settings: Settings, ledger: Ledger
) -> None:
    with closing(ledger._engine.raw_connection()) as connection:
        cursor = connection.cursor()
        for name, value in (("tcp_keepalives_idle", "30"), ("idle_in_transaction_session_timeout", "5min")):
            cursor.execute(f"show {name}")
            assert cursor.fetchone() == (value,)


def test_a_machine_with_keys_of_its_own_is_refused_before_it_uses_them(
    settings: Settings, other: Settings
) -> None:
    ledger, stranger = Ledger(settings), Ledger(other)
    request = ledger.erasures.create(["user_00000001"], "command", NOW)[0]
    with pytest.raises(Conflict, match="is not the one of this deployment"):
        stranger.erasures.create(["user_00000002"], "command", NOW)
    shutil.rmtree(other.root / "secrets")
    shutil.copytree(settings.root / "secrets", other.root / "secrets")
    assert stranger.erasures.subject(request.id).user_id == "user_00000001"


@pytest.mark.parametrize("backend", ["s3+postgres"], indirect=True)
def test_who_loses_a_lock_and_then_an_upload_to_others_is_told_to_try_again(
    settings: Settings, other: Settings, postgres_server: Server, database: str, tmp_path: Path
) -> None:
    final = settings.exports / "on_demand" / "exp_1"

    def swept() -> bool:
        sweep_unpublished(other, thoroughly=False)
        return not list(buckets.unfinished(final))

    with (  # noqa: PT012
        pytest.raises(TransientError, match="held the lock making-on_demand-exp_1 broke"),
        making(settings, tmp_path, final) as place,
        objects.writing(place.folder / "part", absent=True) as file,
    ):
        file.write(bytes(objects.PART_BYTES + 1))
        assert not swept()
        assert postgres_server.end_sessions(name_of(database), LOCKS)
        until(swept)
