"""Editing rows of a table in Arrow: rows of erased people go, and their ids inside the rows of others.

What only rows that went had, such as session ids, leaves the dictionaries of the columns as well.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyiceberg.transforms import BucketTransform
from pyiceberg.types import StringType

from export_pipeline.store.tables import USER_BUCKETS, texts

USER, SEQUENCE = "userId", "batchSequence"
_UNIQUE = "eventId"


class Mentions(Protocol):
    """Finds ids of people in the values of a column, and takes them out."""

    def spans_in_values(self, values: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each match the position of the value it is in, rising, and where in it."""

    def replace(self, values: pa.Array) -> tuple[pa.ChunkedArray, int]:
        """The values with every match replaced, and how many there were."""

    def marks(self, values: pa.Array) -> pa.Array:
        """What is put behind each value, so that those with a match stay different from each other."""


@dataclass(frozen=True)
class Edit:
    """What is erased from a table.

    Args:
        holders: the ``userId`` of each row that goes, with the requests for which it does.
        mentions: finds the ids that may stay nowhere.
        watermark: the last batch that came before; rows of later ones stay as they are.
    """

    holders: Mapping[str, tuple[str, ...]] = field(repr=False)
    mentions: Mentions = field(repr=False)
    watermark: int

    @cached_property
    def buckets(self) -> frozenset[int]:
        """The user buckets in which rows that go can be."""
        bucket = BucketTransform(USER_BUCKETS).transform(StringType())
        return frozenset(number for user in self.holders if (number := bucket(user)) is not None)

    @cached_property
    def users(self) -> pa.Array:
        """The ``userId`` of rows that go."""
        return pa.array(sorted(self.holders), pa.large_string())


@dataclass
class Count:
    """What went: rows by user, and ids inside the rows of others."""

    users: Counter[str] = field(default_factory=Counter)
    replaced: int = 0

    @property
    def rows(self) -> int:
        """The rows that went."""
        return self.users.total()


def edited(group: pa.Table, table: str, edit: Edit, count: Count) -> Iterator[pa.Table]:
    """The rows of ``group`` that stay, as they stay; counts what went."""
    earlier = pc.less_equal(group[SEQUENCE], edit.watermark)
    if not pc.all(earlier).as_py():
        yield _compacted(group.filter(pc.invert(earlier)))
        group = group.filter(earlier)
    users, codes = values_of(group[USER]), _codes(group[USER])
    gone = pc.is_in(users, edit.users).to_numpy(zero_copy_only=False)
    if gone.any():
        rows = np.bincount(codes, minlength=len(users))
        for at in np.flatnonzero(gone & (rows > 0)):
            count.users[users[int(at)].as_py()] += int(rows[at])
        group = group.filter(pa.array(~gone[codes]))
    if not group.num_rows:
        return
    group = _compacted(group)
    for position, name in enumerate(group.column_names):
        if name in texts(table):
            column = _one(group[name])
            if replaced := _count_mentions(column, edit.mentions):
                count.replaced += replaced
                anew = _replaced(column, edit.mentions, unique=name == _UNIQUE)
                group = group.set_column(position, group.field(position), anew)
    yield group


def _count_mentions(column: pa.Array, mentions: Mentions) -> int:
    places, _ = mentions.spans_in_values(values_of(column))
    if not len(places) or not pa.types.is_dictionary(column.type):
        return len(places)
    codes = _codes(column)[column.is_valid().to_numpy(zero_copy_only=False)]
    return int(np.bincount(codes, minlength=len(column.dictionary))[places].sum())


def _replaced(column: pa.Array, mentions: Mentions, *, unique: bool) -> pa.Array:
    values = mentions.replace(values_of(column))[0].combine_chunks()
    if unique:
        marks = mentions.marks(values_of(column))
        values = pc.binary_join_element_wise(values, marks, pa.scalar("", values.type))
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices, values)
    return values


def _compacted(group: pa.Table) -> pa.Table:
    """``group`` with dictionaries that hold no value without a row."""
    for position, name in enumerate(group.column_names):
        column = _one(group[name])
        if pa.types.is_dictionary(column.type):
            valid = column.is_valid().to_numpy(zero_copy_only=False)
            codes = _codes(column)
            used = np.zeros(max(len(column.dictionary), 1), bool)
            used[codes[valid]] = True
            if used.all():
                continue
            indices = pa.array((np.cumsum(used) - 1)[codes].astype(np.int32), mask=~valid)
            values = column.dictionary.filter(pa.array(used[: len(column.dictionary)]))
            group = group.set_column(
                position, group.field(position), pa.DictionaryArray.from_arrays(indices, values)
            )
    return group


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _codes(column: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
    indices = _one(column).indices.fill_null(0)
    return np.asarray(indices.to_numpy(zero_copy_only=False), np.int64)


def values_of(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The values of a column, each once if it is a dictionary."""
    array = _one(column)
    return array.dictionary if pa.types.is_dictionary(array.type) else array
