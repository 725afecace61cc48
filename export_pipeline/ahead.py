"""Making the next item while the last one is used."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


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
