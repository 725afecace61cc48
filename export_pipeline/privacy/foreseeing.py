"""What an erasure would do, found out the way it is done, and changing nothing."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from export_pipeline.exports.editing import Edit as ExportsEdit
from export_pipeline.exports.rewriting import holding
from export_pipeline.ledger import Ledger
from export_pipeline.privacy.identity import Person, resolve
from export_pipeline.privacy.matching import Needles
from export_pipeline.privacy.purging import count
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.editing import Edit
from export_pipeline.store.erasing import find
from export_pipeline.store.tables import TABLES

_ALL_BATCHES = (1 << 63) - 1
_BESIDE = 3
"""The steps beside those over tables: who they are, exports, and all else."""


def foresee(
    settings: Settings,
    store: Store,
    ledger: Ledger,
    user_ids: Sequence[str],
    now: datetime,
    told: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """What erasing these people in one pass would remove, as JSON without their ids.

    ``requests`` has the rows of each, by table, in the order given; what is beside is of all of them:
    ids that would be replaced in rows of others and days that would change, by table; the paths of exports
    that would be made again; archives, quarantined lines and open exports that would go. Files that wait in
    the landing directory are not looked at: they are taken in first.

    Args:
        told: how many steps are done, and how many there are.

    Raises:
        DamagedData: if a file cannot be read.
    """
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if told:
            told(steps, len(TABLES) + _BESIDE)

    people = resolve(settings, store, user_ids)
    step()
    holders = _holders(people)
    ids = frozenset[str]().union(*(person.ids for person in people))
    needles = Needles(ids)
    found = {}
    for table in TABLES:
        found[table] = find(settings, store, table, Edit(holders, needles, _ALL_BATCHES))
        step()
    edit = ExportsEdit(holders.keys(), Needles({*holders, *ids}), needles)
    named = [
        job for job in ledger.jobs.open(now) if not holders.keys().isdisjoint(ledger.jobs.user_ids(job.id))
    ]
    held = list(holding(settings, ledger, edit, now))
    step()
    others = count(settings, ledger, needles, now)
    step()
    return {
        "dryRun": True,
        "requests": [
            {"rowsRemoved": {table: what.removed.get(str(place), 0) for table, what in found.items()}}
            for place in range(len(people))
        ],
        "idsReplaced": {table: what.replaced for table, what in found.items() if what.replaced},
        "daysChanged": {table: len(what.days) for table, what in found.items() if what.days},
        "exports": held,
        **others,
        "openExports": len(named),
    }


def _holders(people: Sequence[Person]) -> dict[str, tuple[str, ...]]:
    """The ids under which rows would go, with the places of those for whom."""
    holders: dict[str, tuple[str, ...]] = {}
    for place, person in enumerate(people):
        for id_ in person.row_ids:
            holders[id_] = (*holders.get(id_, ()), str(place))
    return holders
