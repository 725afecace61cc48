"""Making the next items while the last one is used."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def ahead(items: Iterable[T]) -> Iterator[Iterator[T]]:
    """``items``, each made in a thread while the one before is used; so two exist at a time.

    What making an item raises is raised where that item is asked for. No item is being made any more when
    the block is left.
    """
    source, end = iter(items), object()

    def following() -> Iterator[T]:
        made = executor.submit(next, source, end)
        while (item := made.result()) is not end:
            made = executor.submit(next, source, end)
            yield item  # type: ignore[misc]

    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as executor:
        yield following()


def in_order(
    submit: Callable[[Callable[[T], R], T], Future[R]],
    function: Callable[[T], R],
    items: Iterable[T],
    ahead: int,
) -> Generator[R, None, None]:
    """The results of ``function`` in the order of ``items``, at most ``ahead`` of them under way.

    When it is closed, those that cannot be cancelled any more have ended.
    """
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            pending.append(submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        wait([future for future in pending if not future.cancel()])
