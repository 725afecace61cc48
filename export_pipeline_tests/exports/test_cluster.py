"""Exports whose windows are made by the workers of a real Dask cluster: the same bytes, whatever dies."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from export_pipeline import buckets, composing, objects
from export_pipeline.ahead import in_order
from export_pipeline.errors import InvalidSetting, TransientError
from export_pipeline.exports import export_day, export_days
from export_pipeline.exports.executors import Cluster, makers
from export_pipeline.exports.verification import export_problems
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.erasures import COMPLETE
from export_pipeline.objects import files_below
from export_pipeline.privacy.erasing import erase_now
from export_pipeline.privacy.requests import request_erasures
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store
from export_pipeline_tests import dask, faultproxy, processes
from export_pipeline_tests.conditions import until
from export_pipeline_tests.exports.conftest import NOW, Land
from export_pipeline_tests.exports.encoded import DAY, at
from export_pipeline_tests.objectstore import ObjectStore
from export_pipeline_tests.privacy import scenario
from export_pipeline_tests.rows import row

SMALL = {"EXPORT_PIPELINE_WINDOW_ROWS": "40", "EXPORT_PIPELINE_PART_BYTES": "10000"}
ROWS = 800
KILLED_AT = 8
"""The task of an export at which something is killed: there are more than twice as many."""


@pytest.fixture
def cluster() -> Iterator[dask.Cluster]:
    """One of its own, as processes of it are killed."""
    with dask.running() as there:
        yield there


@pytest.fixture
def at_task(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], list[str]]:
    """Have something done when a task is submitted, counted from 0; the names of all tasks, as they come."""
    begin, names = Cluster._begin, list[str]()

    def set_up(number: int, done: Callable[[], object]) -> list[str]:
        def begun(executor: Cluster, ours: Future[Any], fn: Any, *args: Any) -> Future[Any]:
            if len(names) == number:
                done()
            names.append(fn.__name__)
            return begin(executor, ours, fn, *args)

        monkeypatch.setattr(Cluster, "_begin", begun)
        return names

    return set_up


def fill(land: Land) -> None:
    land([row(n, timestamp=at(0) + timedelta(seconds=n * 50)) for n in range(ROWS)])


def by(cluster: dask.Cluster, environment: dict[str, str], **more: str) -> Settings:
    return load({**environment, **SMALL, "EXPORT_PIPELINE_SCHEDULER": cluster.address, **more})


def left(settings: Settings) -> list[str]:
    """What is there of exports that never appeared, and what is still being uploaded."""
    begun = buckets.unfinished(settings.exports) if objects.is_remote(settings.exports) else ()
    return [path.name for path, _, _ in files_below(settings.exports)] + [each.name for each in begun]


@pytest.mark.backends("s3")
def test_the_bytes_are_those_that_threads_make_and_a_worker_may_be_killed(
    land: Land,
    environment: dict[str, str],
    ledger: Ledger,
    store: Store,
    cluster: dask.Cluster,
    at_task: Callable[[int, Callable[[], object]], list[str]],
) -> None:
    fill(land)
    alone, together = load({**environment, **SMALL}), by(cluster, environment)
    for format in ("csv", "jsonl"):
        made = export_day("events", format, DAY, settings=alone, store=store, ledger=ledger, now=NOW)
        expected = {file.name: (made.path / file.name).read_bytes() for file in made.manifest.files}
        assert len(expected) > 2
        (made.path / made.manifest.files[0].name).write_bytes(b"")
        tasks = at_task(KILLED_AT, cluster.workers[0].kill) if format == "jsonl" else []
        again = export_day("events", format, DAY, settings=together, store=store, ledger=ledger, now=NOW)
        assert again.created
        assert again.manifest.files == made.manifest.files
        assert {name: (again.path / name).read_bytes() for name in expected} == expected
        assert export_problems(again.path) == []
        assert list(files_below(together.exports / ".making")) == []
    assert tasks.index("_left_there") < KILLED_AT < len(tasks) / 2
    assert cluster.workers[0].exitcode == -signal.SIGKILL


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.soak)])
def test_a_scheduler_that_goes_away_or_hangs_fails_an_export_soon_and_nothing_stays(
    land: Land,
    environment: dict[str, str],
    ledger: Ledger,
    store: Store,
    cluster: dask.Cluster,
    at_task: Callable[[int, Callable[[], object]], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
) -> None:
    monkeypatch.setattr("export_pipeline.exports.executors._PATIENCE_SECONDS", 8)
    monkeypatch.setattr("export_pipeline.exports.executors._ANSWER_SECONDS", 4)
    fill(land)
    settings = by(cluster, environment)
    tasks = at_task(KILLED_AT, lambda: cluster.signal_scheduler(how))
    began = time.monotonic()
    with pytest.raises(TransientError, match="workers that make exports were lost"):
        export_day("events", "jsonl", DAY, settings=settings, store=store, ledger=ledger, now=NOW)
    assert time.monotonic() - began < 60
    assert len(tasks) > KILLED_AT
    assert left(settings) == []


def test_a_scheduler_that_hangs_when_an_export_begins_is_told(
    land: Land,
    environment: dict[str, str],
    ledger: Ledger,
    store: Store,
    cluster: dask.Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("export_pipeline.exports.executors._PATIENCE_SECONDS", 2)
    monkeypatch.setattr("export_pipeline.exports.executors._ANSWER_SECONDS", 1)
    land([row(1)])
    cluster.signal_scheduler(signal.SIGSTOP)
    with pytest.raises(TransientError, match="does not answer"):
        export_day(
            "events", "jsonl", DAY, settings=by(cluster, environment), store=store, ledger=ledger, now=NOW
        )


@pytest.mark.parametrize(
    ("where", "first", "told"),
    [
        (
            "workers",
            "from export_pipeline.exports import executors as e; e.version = lambda name: name",
            "a worker of .* runs",
        ),
        (
            "scheduler",
            "import sys; sys.modules |= {n: None for n in sys.modules if n.startswith('export_pipeline')}",
            "the scheduler of .* cannot load",
        ),
    ],
)
def test_a_cluster_with_another_version_makes_nothing_and_it_is_told_what_to_install_where(
    land: Land, environment: dict[str, str], ledger: Ledger, store: Store, where: str, first: str, told: str
) -> None:
    fill(land)
    with dask.running(1, **{where: first}) as cluster:
        settings = by(cluster, environment)
        with pytest.raises(InvalidSetting, match=told):
            export_day("events", "jsonl", DAY, settings=settings, store=store, ledger=ledger, now=NOW)
    assert left(settings) == []


@pytest.mark.system
@pytest.mark.parametrize("backend", ["s3"], indirect=True)
def test_a_person_of_a_day_that_is_done_can_be_erased_while_the_backfill_goes_on(
    environment: dict[str, str], ledger: Ledger, store: Store, settings: Settings, cluster: dask.Cluster
) -> None:
    there = scenario.Deployment(settings, store, ledger)
    there.take_in(days=2)
    days = [scenario.FIRST, scenario.FIRST + timedelta(days=1)]
    together = by(cluster, environment)
    with closing(
        export_days("events", "jsonl", days, settings=together, store=store, ledger=ledger, now=scenario.NOW)
    ) as making:
        for _ in days:
            next(making)
        # Its end has not been asked for, so that it still holds the cluster.
        assert all(worker.is_alive() for worker in cluster.workers)
        asked = lambda: request_erasures(  # noqa: E731
            ledger, [scenario.ADA], now=scenario.NOW, created_by="command"
        )
        [request] = erase_now(settings, store, ledger, asked, clock=lambda: scenario.NOW)
    assert request.state == COMPLETE
    objects.remove(settings.data)  # others look for the same bytes on the disk of the store


def making(settings: Settings) -> list[str]:
    """What workers have left, and are about to leave, of exports that are being made."""
    folder = settings.exports / ".making"
    if objects.is_remote(folder):
        begun = [each.path for each in buckets.unfinished(folder)]
        return [path.name for path in (*begun, *(path for path, _, _ in files_below(folder)))]
    return [path.name for path in folder.rglob("*")]


def be_killed_at_a_window(settings: Settings) -> None:
    store, ledger = Store(settings), Ledger(settings)
    export_day(
        "events", "jsonl", DAY, settings=settings, store=store, ledger=ledger, now=NOW,
        progress=lambda _: os.kill(os.getpid(), signal.SIGKILL),
    )  # fmt: skip


@pytest.mark.backends("s3")
def test_what_a_killed_export_had_made_by_workers_is_gone_when_the_next_one_begins(
    land: Land, environment: dict[str, str], cluster: dask.Cluster
) -> None:
    fill(land)
    settings = by(cluster, environment)
    processes.die(be_killed_at_a_window, settings)
    assert making(settings) != []
    with makers(settings, None):
        assert making(settings) == []


@pytest.mark.backends("s3")
def test_what_is_being_made_by_workers_stays_when_the_next_export_begins(
    land: Land, environment: dict[str, str], ledger: Ledger, store: Store, cluster: dask.Cluster
) -> None:
    fill(land)
    settings = by(cluster, environment)
    found = list[list[str]]()

    def begin_another(_: int) -> None:
        if not found:
            with makers(settings, None):
                found.append(making(settings))

    made = export_day(
        "events", "jsonl", DAY, settings=settings, store=store, ledger=ledger, now=NOW, progress=begin_another
    )
    assert found[0] != []
    assert (made.rows, export_problems(made.path)) == (ROWS, [])


def write_later(begun: composing.Begun, at_it: Path) -> None:
    at_it.touch()
    write_late(begun)


def be_killed_while_a_worker_writes(settings: Settings, at_it: Path) -> None:
    with makers(settings, None) as pool:
        assert isinstance(pool, Cluster)
        with pool.folder() as folder:
            pool.leave(write_later, composing.begin(folder / "0"), at_it)
            until(at_it.exists)
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.backends("s3")
def test_what_a_worker_still_writes_for_a_killed_export_does_not_appear_once_the_next_has_begun(
    environment: dict[str, str], cluster: dask.Cluster, tmp_path: Path
) -> None:
    settings = by(cluster, environment)
    processes.die(be_killed_while_a_worker_writes, settings, tmp_path / "at-it")
    with makers(settings, None) as pool:
        assert making(settings) == []
        # There are two workers: once both are at this, the one that wrote has ended.
        meet = [pool.submit(time.sleep, 1.0) for _ in range(2)]
        for each in meet:
            each.result()
        assert making(settings) == []


def write_late(begun: composing.Begun) -> None:
    time.sleep(0.5)
    composing.compose(begun, [b"late"])


@pytest.mark.system
@pytest.mark.parametrize("backend", ["s3"], indirect=True)
def test_when_a_folder_of_windows_ends_nobody_writes_there_any_more(
    environment: dict[str, str], cluster: dask.Cluster
) -> None:
    settings = by(cluster, environment)
    with makers(settings, None) as pool:
        assert isinstance(pool, Cluster)
        with pool.folder() as folder:
            places = (composing.begin(folder / str(number)) for number in count())
            with closing(in_order(pool.leave, write_late, places, ahead=3)) as written:
                next(written)
            # What was under way has ended: it was waited for.
            assert len(list(files_below(folder))) == 3
        assert left(settings) == []


@pytest.mark.system
@pytest.mark.parametrize("backend", ["s3"], indirect=True)
def test_a_worker_that_outlives_its_export_leaves_nothing_where_others_have_cleared(
    environment: dict[str, str], cluster: dask.Cluster
) -> None:
    settings = by(cluster, environment)
    with makers(settings, None) as pool:
        assert isinstance(pool, Cluster)
        with pool.folder() as folder:
            late = pool.leave(write_late, composing.begin(folder / "0"))
            composing.clear(settings.exports / ".making")  # as whoever finds that the client is dead
            with pytest.raises(FileNotFoundError):
                late.result()
            assert left(settings) == []


@pytest.mark.soak
@pytest.mark.parametrize("backend", ["s3"], indirect=True)
def test_workers_that_reach_the_store_through_faults_make_the_same(
    land: Land,
    environment: dict[str, str],
    ledger: Ledger,
    store: Store,
    cluster: dask.Cluster,
    object_store: ObjectStore,
) -> None:
    fill(land)
    alone = load({**environment, **SMALL})
    made = export_day("events", "csv", DAY, settings=alone, store=store, ledger=ledger, now=NOW)
    objects.remove(made.path)
    with faultproxy.running(urlsplit(object_store.url).port or 0, seed=3) as proxy:
        together = by(cluster, environment, EXPORT_PIPELINE_S3_ENDPOINT=proxy.url)
        proxy.share = 0.05
        again = export_day(
            "events", "csv", DAY, settings=together, store=Store(together), ledger=ledger, now=NOW
        )
        proxy.share = 0.0
    assert sum(proxy.spoiled.values()) >= 3
    assert again.manifest.files == made.manifest.files
    assert export_problems(made.path) == []
    assert list(files_below(alone.exports / ".making")) == []


@pytest.mark.backends("s3")
def test_when_all_workers_are_lost_an_export_fails_to_be_tried_again_and_nothing_stays(
    land: Land,
    environment: dict[str, str],
    ledger: Ledger,
    store: Store,
    cluster: dask.Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("export_pipeline.exports.executors._PATIENCE_SECONDS", 2)
    submit = Cluster.submit

    def submitted(executor: Cluster, *args: Any) -> Future[Any]:
        for worker in cluster.workers:
            worker.kill()
        return submit(executor, *args)

    monkeypatch.setattr(Cluster, "submit", submitted)
    land([row(1)])
    settings = load({**environment, "EXPORT_PIPELINE_SCHEDULER": cluster.address})
    with pytest.raises(TransientError, match="workers that make exports were lost"):
        export_day("events", "jsonl", DAY, settings=settings, store=store, ledger=ledger, now=NOW)
    assert [path for path, _, _ in files_below(settings.exports) if path.suffix == ".json"] == []
    assert list(files_below(settings.exports / ".making")) == []


def test_a_scheduler_that_is_not_there_is_told_and_nothing_stays(
    land: Land, environment: dict[str, str], ledger: Ledger, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export_pipeline.exports.executors._PATIENCE_SECONDS", 1)
    land([row(1)])
    settings = load({**environment, "EXPORT_PIPELINE_SCHEDULER": "tcp://127.0.0.1:9"})
    with pytest.raises(TransientError, match="does not answer"):
        export_day("events", "jsonl", DAY, settings=settings, store=store, ledger=ledger, now=NOW)
    assert list(settings.exports.rglob("*.json")) == []
