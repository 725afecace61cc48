"""Who is who, in plain Python and one rule at a time: the model that the privacy package is held against.

Also people in a real store: device links and user rows without landing files.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from export_pipeline.store import Store
from export_pipeline.store.tables import TABLE_OF, arrow_schema
from export_pipeline_tests.rows import NOON

Link = tuple[str, str]
"""A user id and an anonymous id linked to it."""

USERS = ("ada", "bob", "eve", 'o"neil é')
DEVICES = ("d-1", "d-2", "d-3", "d-4", "ü %20/?")


@dataclass(frozen=True)
class Expected:
    """A person of the model."""

    own: frozenset[str]
    contested: frozenset[str]
    gone: frozenset[str]


def expected(user_id: str, links: Collection[Link]) -> Expected:
    """Who ``user_id`` is, given all links there are."""
    own, contested = set(), set()
    for user, device in links:
        if user == user_id:
            holders = {other for other, linked in links if linked == device}
            (own if holders == {user_id} else contested).add(device)
    own.discard(user_id)
    if any(device == user_id and user != user_id for user, device in links):
        contested.add(user_id)
    gone = ({user_id} | own) - contested
    return Expected(frozenset(own), frozenset(contested), frozenset(gone))


def is_theirs(person: Expected, row: Mapping[str, Any]) -> bool:
    """Whether a row is shown to the person, or withheld from them; the rows an erasure removes."""
    return is_shown(person, row) or is_withheld(person, row)


def is_shown(person: Expected, row: Mapping[str, Any]) -> bool:
    """Whether an access export shows a row."""
    return row["userId"] in person.gone


def is_withheld(person: Expected, row: Mapping[str, Any]) -> bool:
    """Whether an access export counts a row without showing it."""
    return row["userId"] in person.contested


def links(users: Iterable[str] = USERS, devices: Iterable[str] = DEVICES) -> st.SearchStrategy[list[Link]]:
    """Random graphs of identity; a device id is now and then somebody's user id."""
    names = tuple(users)
    return st.lists(st.tuples(st.sampled_from(names), st.sampled_from((*devices, names[0]))), max_size=12)


def add_user_rows(store: Store, landing: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows of the user table of a landing folder, each a batch of its own number."""
    target = f"users/{landing}"
    numbered = [{"batchSequence": number, **row} for number, row in enumerate(rows, start=1)]
    if numbered:
        table = pa.Table.from_pylist(numbered, schema=arrow_schema(target))
        store.append(TABLE_OF[target], [table], {"batch": f"{landing}-{len(numbered)}"})


def add_links(store: Store, linked: Iterable[Link], at: datetime = NOON) -> None:
    """Device links in the store."""
    add_user_rows(store, "devices", [{"userId": u, "deviceId": d, "linkedAt": at} for u, d in linked])
