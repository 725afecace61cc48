"""The next item is made while the last is used, and nothing of that outlives its use."""

from collections.abc import Iterator
from threading import Event, active_count

import pytest

from export_pipeline.ahead import ahead


def test_all_items_come_in_order() -> None:
    with ahead(range(100)) as items:
        assert list(items) == list(range(100))


def test_the_next_item_is_made_while_one_is_used() -> None:
    made = Event()

    def source() -> Iterator[int]:
        yield 1
        made.set()
        yield 2

    with ahead(source()) as items:
        assert next(items) == 1
        assert made.wait(10)
        assert list(items) == [2]


def test_what_fails_in_making_an_item_is_raised_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("second")

    with ahead(source()) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match="second"):
            next(items)


def test_no_item_is_being_made_after_a_failure_of_its_use() -> None:
    before = active_count()
    making, finished = Event(), Event()

    def source() -> Iterator[int]:
        yield 1
        making.set()
        Event().wait(0.2)
        finished.set()
        yield 2

    def use() -> None:
        with ahead(source()) as items:
            next(items)
            assert making.wait(10)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        use()
    assert finished.is_set()
    assert active_count() == before
