"""Making the next item while the last one is used."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """``items``, each made in a thread while the one before is used; so two exist at a time.

    What making an item raises is raised where that item is asked for. Closing ends the thread.
    """
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as executor:
        following = executor.submit(next, items, end)
        while (item := following.result()) is not end:
            following = executor.submit(next, items, end)
            yield item  # type: ignore[misc]
