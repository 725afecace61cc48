"""Raw events, the quarantine and the aggregates: whole days, dropped when they are past their time."""

import re
from datetime import datetime

import pyarrow.parquet as pq
from upath import UPath

from export_pipeline import objects
from export_pipeline.days import oldest_kept_day
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.faults import reach
from export_pipeline.ledger import Ledger
from export_pipeline.objects import files_below, for_arrow
from export_pipeline.retention.items import Item
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.days import Dropped, drop_days, held_before
from export_pipeline.store.tables import METRICS_TABLE


def drop_events(
    settings: Settings, store: Store, ledger: Ledger, now: datetime, dry: bool
) -> dict[str, Item]:
    """Drop the days of the event tables that are outside raw retention at ``now``; what went, by table.

    Only while neither ingest nor maintenance runs. That a day is closed for good is noted first, so that no
    export of it is made of what is left.
    """
    before = oldest_kept_day(now, settings.raw_retention_days)
    unfinished = ledger.unfinished()
    removed = {}
    for name, data_type in DATA_TYPES.items():
        counted = ledger.keeping.rows_before(name, before)
        if dry:
            found = held_before(store, data_type.table, before)
        else:
            ledger.keeping.close_before(name, before)
            reach(settings, "retention.closed")
            found = drop_days(settings, store, data_type.table, before, unfinished)
            ledger.keeping.forget_days(name, before)
        # After a round that was killed the rows are gone already, and only the ledger still counts them.
        removed[data_type.table] = Item(max(found.rows, counted), found.files, found.bytes)
    return removed


def drop_metrics(settings: Settings, store: Store, ledger: Ledger, now: datetime, dry: bool) -> Item:
    """Drop the daily metrics that are past their time at ``now``. Only while no maintenance runs."""
    before = oldest_kept_day(now, settings.aggregate_retention_days)
    if dry:
        return _item(held_before(store, METRICS_TABLE, before))
    dropped = drop_days(settings, store, METRICS_TABLE, before, ())
    ledger.keeping.forget_metrics(before)
    return _item(dropped)


def _item(dropped: Dropped) -> Item:
    return Item(dropped.rows, dropped.files, dropped.bytes)


def drop_quarantine(settings: Settings, now: datetime, dry: bool) -> Item:
    """Remove the days of the quarantine that are outside raw retention at ``now``.

    Only while no ingest runs.
    """
    before = oldest_kept_day(now, settings.raw_retention_days).isoformat()
    old = [
        (path, size)
        for path, size, _ in files_below(settings.quarantine)
        if _DAY.fullmatch(path.parent.name) and path.parent.name < before
    ]
    lines = sum(_lines(path) for path, _ in old if path.suffix == ".parquet")
    if not dry:
        for folder in {path.parent for path, _ in old}:
            objects.remove(folder)
    return Item(lines, len(old), sum(size for _, size in old))


_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def _lines(path: UPath) -> int:
    try:
        return int(pq.read_metadata(for_arrow(path)).num_rows)
    except (OSError, ValueError):
        return 0  # a damaged file goes like any other
