"""The step of an erasure that changes the store: rows go, ids in rows of others are replaced, days rise.

One commit a table; what it did is in the ledger before anything older is removed from disk, so that a
step that died is finished by the next one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from export_pipeline.errors import DamagedData
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.making import PUBLISHING
from export_pipeline.faults import reach
from export_pipeline.ingest.batches import exclusively
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.erasures import ERASE_STORE
from export_pipeline.privacy.passes import Pass, under_way
from export_pipeline.privacy.suppressing import Counts
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.days import AGGREGATES, erase_mentions
from export_pipeline.store.editing import Edit
from export_pipeline.store.erasing import Erased, erase, erased_by, forget_replaced
from export_pipeline.store.maintenance import LOCK as MAINTENANCE
from export_pipeline.store.maintenance import Removed
from export_pipeline.store.tables import METRICS_TABLE, TABLES, target_of


def step_of(table: str) -> str:
    """Under which name the ledger keeps what was erased from a table."""
    return f"store.{table}"


def erase_store(settings: Settings, store: Store, ledger: Ledger, request_id: str, now: datetime) -> Counts:
    """Erase the people of a request's pass from all tables, physically.

    Raises:
        Conflict: if the pass was not suppressed, or the request is complete.
        DamagedData: if a store file is missing or cannot be read.
        TransientError: if others changed the store every time.
    """
    erasing = under_way(ledger, request_id, now)
    edit = edit_of(erasing, erasing.watermark)
    with ledger.lock(MAINTENANCE):
        _settle_others(store, ledger, erasing, now)
        for table in TABLES:
            if ledger.erasure_steps.get(erasing.id, step_of(table)) is None:
                _note(ledger, erasing.id, table, erase(settings, store, table, edit, erasing.id), now)
                reach(settings, "erasure.noted")
        removed = Removed()
        with quiet(settings, store, ledger, now):
            for table in TABLES:
                removed += forget_replaced(store, table)
                reach(settings, "erasure.forgotten")
        with ledger.lock(AGGREGATES):
            # Nobody's rows are in there, but a content may have the id of a person for its name.
            replaced = erase_mentions(store, METRICS_TABLE, edit.mentions)
            removed += forget_replaced(store, METRICS_TABLE)
    files = {"files": removed.files, "bytes": removed.bytes}
    ledger.erasure_steps.note(erasing.id, ERASE_STORE, files, now)
    done = erased(ledger, erasing.id)
    return {
        **{table: what.rows for table, what in done.items()},
        "idsReplaced": sum(what.replaced for what in done.values()) + replaced,
        "daysChanged": sum(len(what.days) for what in done.values()),
        "filesRemoved": removed.files,
    }


def edit_of(erasing: Pass, watermark: int) -> Edit:
    """What a pass erases from a table."""
    return Edit(erasing.holders, erasing.needles, watermark)


def erased(ledger: Ledger, pass_id: str) -> dict[str, Erased]:
    """What a pass has erased so far, by table."""
    steps = ledger.erasure_steps.all(pass_id)
    found = {}
    for table in TABLES:
        if (result := steps.get(step_of(table))) is not None:
            days = {day: change["rows"] for day, change in result["days"].items()}
            found[table] = Erased.from_json({**result, "days": days})
    return found


@contextmanager
def quiet(settings: Settings, store: Store, ledger: Ledger, now: datetime) -> Iterator[None]:
    """No batch is under way in the block; landing files that cannot be read are left where they are."""
    finished = False
    try:
        with exclusively(settings, store, ledger, now):
            yield
            finished = True
    except DamagedData:
        if not finished:
            raise


def _settle_others(store: Store, ledger: Ledger, erasing: Pass, now: datetime) -> None:
    # What a pass that died had erased is told by its snapshots, which go in a moment.
    for pass_id in ledger.erasures.unfinished_passes(ERASE_STORE):
        for table in TABLES:
            done = None if pass_id == erasing.id else erased_by(store, table, pass_id)
            if done is not None and ledger.erasure_steps.get(pass_id, step_of(table)) is None:
                _note(ledger, pass_id, table, done, now)


def _note(ledger: Ledger, pass_id: str, table: str, done: Erased, now: datetime) -> None:
    target = target_of(table)
    if target in DATA_TYPES:
        with ledger.lock(PUBLISHING):
            ledger.erasure_steps.note_removed(pass_id, step_of(table), done.to_json(), target, done.days, now)
    else:
        ledger.erasure_steps.note(pass_id, step_of(table), done.to_json(), now)
