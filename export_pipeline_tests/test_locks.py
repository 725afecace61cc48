"""Locks let as many in as they say, and whoever waits no longer than told."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from export_pipeline.errors import Conflict
from export_pipeline.locks import is_held, joined, known, lock, lock_one, lock_soon, members, sweep
from export_pipeline.settings import Settings


@pytest.mark.backends("postgres")
def test_as_many_are_let_in_at_once_as_there_are_names(settings: Settings) -> None:
    inside, most = 0, 0
    counting = threading.Lock()

    def work(_: int) -> None:
        nonlocal inside, most
        with lock_one(settings, ["a", "b"]):
            with counting:
                inside += 1
                most = max(most, inside)
            time.sleep(0.02)
            with counting:
                inside -= 1

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(12)))
    assert most == 2


@pytest.mark.backends("postgres")
def test_who_waits_only_so_long_is_told_that_it_is_held(settings: Settings) -> None:
    with lock(settings, "x"), pytest.raises(Conflict, match="x is held"), lock_soon(settings, "x", 0.1):
        pass
    with lock_soon(settings, "x", 0.1):
        assert is_held(settings, "x")
    assert not is_held(settings, "x")


def test_locks_are_known_by_how_their_names_begin(settings: Settings) -> None:
    for name in ("job-1", "job-2", "other"):
        with lock(settings, name):
            pass
    assert sorted(known(settings, "job-")) == ["job-1", "job-2"]


def test_traces_of_locks_are_swept_and_those_held_stay(settings: Settings) -> None:
    with lock(settings, "free"):
        pass
    with lock(settings, "held"):
        assert sweep(settings) == 1
        assert known(settings, "") == ["held"]
        with pytest.raises(Conflict), lock_soon(settings, "held", 0.1):
            pass


def test_sweeping_never_lets_two_in(settings: Settings) -> None:
    inside, most = 0, 0
    done = threading.Event()

    def sweeping() -> None:
        while not done.is_set():
            sweep(settings)

    def work(_: int) -> None:
        nonlocal inside, most
        with lock(settings, "a"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.001)
            inside -= 1

    sweeper = threading.Thread(target=sweeping)
    sweeper.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(200)))
    done.set()
    sweeper.join()
    assert most == 1


@pytest.mark.backends("postgres")
def test_who_belongs_to_a_group_is_seen_until_they_leave_it(settings: Settings) -> None:
    assert members(settings, "x") == frozenset()
    with joined(settings, "x"):
        [first] = members(settings, "x")
        with joined(settings, "x"), joined(settings, "y"):
            assert len(members(settings, "x")) == 2
        assert members(settings, "x") == {first}
        assert members(settings, "y") == frozenset()
        assert sweep(settings) == 0
    with joined(settings, "x"):
        assert first not in members(settings, "x")
    assert known(settings, "") == []
