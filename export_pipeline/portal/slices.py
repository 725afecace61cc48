"""Pages of lists that are held as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Query

T = TypeVar("T")

SLICE = 20
Number = Annotated[int, Query(ge=1, le=100_000)]
"""Which page, from 1 on."""


@dataclass(frozen=True)
class Slice(Generic[T]):
    """A page: what is on it, and the number of the next one, None on the last."""

    items: Sequence[T]
    number: int
    following: int | None


def sliced(items: Sequence[T], number: int) -> Slice[T]:
    """The page of ``items`` of this number."""
    end = number * SLICE
    return Slice(items[end - SLICE : end], number, number + 1 if len(items) > end else None)
