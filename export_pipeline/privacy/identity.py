"""Who a person is: a user id and the anonymous ids linked to it (contract, section 6).

Owns which ids are a person's alone and which are contested.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from export_pipeline.errors import InvalidRequest
from export_pipeline.privacy.reading import connection, planned_again
from export_pipeline.settings import Settings
from export_pipeline.sql import parquet
from export_pipeline.store import Store
from export_pipeline.store.tables import TABLE_OF

DEVICE_LINKS = TABLE_OF["users/devices"]


@dataclass(frozen=True, repr=False)
class Person:
    """The ids of one person; no representation shows them.

    ``own`` are the anonymous ids linked to ``user_id`` and to nobody else. ``contested`` are those linked to
    others as well, and ``user_id`` itself where somebody else has a link to it.
    """

    user_id: str
    own: frozenset[str] = field(default=frozenset())
    contested: frozenset[str] = field(default=frozenset())

    @property
    def ids(self) -> frozenset[str]:
        """The ids of which nothing is left after an erasure: the uncontested ones."""
        return (self.own | {self.user_id}) - self.contested

    @property
    def row_ids(self) -> frozenset[str]:
        """Rows whose ``userId`` is one of these are the person's: shown or withheld, or removed."""
        return self.ids | self.contested

    def __repr__(self) -> str:
        return f"Person({len(self.ids)} ids, {len(self.contested)} contested)"


def checked_user_id(value: object, field: str = "userId") -> str:
    """``value`` as a user id.

    Raises:
        InvalidRequest: naming ``field``, never the value.
    """
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{field} is missing or empty; it must be a non-empty string", field=field)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(
            f"{field} holds half a surrogate pair; it must be Unicode text", field=field
        ) from None
    return value


def resolve(settings: Settings, store: Store, user_ids: Collection[str]) -> tuple[Person, ...]:
    """The persons with these ids, in the same order; an unknown one is a person without links.

    Raises:
        DamagedData: if a store file cannot be read.
        StorageFull: if there is no room for what does not fit into memory.
    """
    linked = planned_again(lambda: _linked(settings, store, user_ids)) if user_ids else ()
    own, contested = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for user_id, other, is_contested in linked:
        (contested if is_contested else own)[user_id].add(other)
    return tuple(
        Person(user_id, frozenset(own[user_id] - {user_id}), frozenset(contested[user_id]))
        for user_id in user_ids
    )


def _linked(settings: Settings, store: Store, user_ids: Iterable[str]) -> list[tuple[str, str, bool]]:
    """Each of ``user_ids`` with each id linked to it, and whether that one is contested."""
    files = store.files(DEVICE_LINKS)
    if not files:
        return []
    with connection(settings) as reading:
        return reading.execute(
            f"""
            with wanted as (select distinct unnest($ids::varchar[]) as id),
            links as (select distinct userId, deviceId from {parquet(files)}),
            near as materialized (
                select * from links where deviceId in (
                    select id from wanted
                    union all
                    select deviceId from links where userId in (select id from wanted)
                )
            ),
            holders as (
                select deviceId, count(*) as users, min(userId) as one from near group by deviceId
            )
            select userId, deviceId, users > 1
            from near join holders using (deviceId) where userId in (select id from wanted)
            union all
            select id, id, true from wanted join holders on deviceId = id where users > 1 or one <> id""",
            {"ids": list(user_ids)},
        ).fetchall()
