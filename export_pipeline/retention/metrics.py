"""Daily metrics: computed from a day's rows while these are kept, and standing when they are gone.

Owns when the metrics of a day are due, and what is shown of them. They are noted in the ledger with the data
versions they were computed from; a day whose rows have changed since is computed again, never one outside
raw retention.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from export_pipeline import locks, objects
from export_pipeline.days import check_range, days_between, oldest_kept_day
from export_pipeline.errors import DamagedData, OutsideRetention, TransientError
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.events.metrics import OTHER
from export_pipeline.exports.daily import SCRATCH
from export_pipeline.exports.due import is_closed
from export_pipeline.exports.making import Waiting
from export_pipeline.exports.publishing import HOLDERS, scratch
from export_pipeline.faults import reach
from export_pipeline.ledger import Ledger
from export_pipeline.outages import answering, explained
from export_pipeline.retention.cells import DayRows, cells_sql
from export_pipeline.settings import Settings
from export_pipeline.sql import literal, parquet
from export_pipeline.storage_full import is_full, no_room
from export_pipeline.store import Store
from export_pipeline.store.days import AGGREGATES, replace_day
from export_pipeline.store.tables import METRICS_SCHEMA, METRICS_TABLE

DEFINITION = 1
"""Raised when a metric's definition changes: days inside raw retention are then computed again."""

ATTEMPTS = 4
MEMORY = "600MB"
SHOWN_DAYS = 30
TOP_CONTENTS = 10


@dataclass(frozen=True)
class DayMetrics:
    """The metrics of a day in the store; ``computed``: by this call, in ``seconds``."""

    day: date
    cells: int
    computed: bool
    seconds: float
    computed_from: Mapping[str, Any]


@dataclass(frozen=True)
class DayTotals:
    """A day over all cells; a rate is None where nothing was played, ``watch_time`` is in seconds."""

    day: date
    plays: int
    completion_rate: float | None
    rebuffer_rate: float | None
    watch_time: float
    ad_clicks: int


def compute_day(
    settings: Settings, store: Store, ledger: Ledger, day: date, now: datetime, *, again: bool = False
) -> DayMetrics:
    """Put the metrics of ``day`` into the store, in the place of those that are there.

    They stand if they were computed from the same data versions. One day is computed at a time; memory is
    bounded, what does not fit spills to ``tmp``.

    Args:
        day: a day (UTC), not in the future.
        again: compute them even if they stand.

    Raises:
        OutsideRetention: if the day's rows are no longer kept; its metrics stay as they are.
        DamagedData: if a store file cannot be read.
        TransientError: if the rows were replaced by others every time.
        StorageFull: if there is no room.
    """
    began = time.monotonic()
    with ledger.lock(AGGREGATES):
        versions, sources = _look(settings, store, ledger, day, now)
        if not again and ledger.keeping.metrics().get(day) == versions:
            return DayMetrics(day, _cells(store, day), False, time.monotonic() - began, versions)
        for _ in range(ATTEMPTS):
            cells = _computed(settings, day, sources)
            if cells is not None:
                break
            versions, sources = _look(settings, store, ledger, day, now)
        else:
            raise TransientError(f"the rows of {day} were replaced by others {ATTEMPTS} times; try again")
        _check_kept(ledger, day)
        reach(settings, "metrics.computed")
        replace_day(store, METRICS_TABLE, day, cells, {"metrics": day.isoformat()})
        reach(settings, "metrics.stored")
        ledger.keeping.note_metrics(day, versions, now)
        return DayMetrics(day, cells.num_rows, True, time.monotonic() - began, versions)


def _look(
    settings: Settings, store: Store, ledger: Ledger, day: date, now: datetime
) -> tuple[dict[str, Any], dict[str, DayRows]]:
    check_range(day, day, now, settings.raw_retention_days)
    looks = {name: ledger.read_days(name, day, day) for name in DATA_TYPES}
    _check_kept(ledger, day)
    sources = {
        name: DayRows(tuple(store.files(DATA_TYPES[name].table, day, day)), look.watermark)
        for name, look in looks.items()
    }
    return _computed_from(settings, {name: look[day].version for name, look in looks.items()}), sources


def _computed_from(settings: Settings, versions: Mapping[str, int]) -> dict[str, Any]:
    return {**versions, "minViewers": settings.metrics_min_viewers, "definition": DEFINITION}


def _check_kept(ledger: Ledger, day: date) -> None:
    for name in DATA_TYPES:
        first = ledger.keeping.first_day(name)
        if first and day < first:
            raise OutsideRetention(f"the rows of {day} are no longer kept; its metrics stay as they are")


def _computed(settings: Settings, day: date, sources: Mapping[str, DayRows]) -> pa.Table | None:
    """The day's cells; None if a file was removed meanwhile."""
    statement = cells_sql(day, sources, settings.metrics_min_viewers)
    # Where exports are made: what spills here holds user ids, and an erasure waits for these and sweeps them.
    with locks.joined(settings, HOLDERS), scratch(settings.tmp / "exports", SCRATCH) as made_in:
        spill = made_in / "spill"
        spill.mkdir()
        try:
            with duckdb.connect(
                config={"memory_limit": MEMORY, "threads": settings.workers, "temp_directory": str(spill)}
            ) as connection:
                connection.execute("set timezone = 'UTC'")
                objects.for_duckdb(connection, settings.data)
                return connection.sql(statement).to_arrow_table().cast(METRICS_SCHEMA)
        except (duckdb.Error, OSError) as error:
            if outage := explained(error):
                raise outage from None
            files = [path for source in sources.values() for path in source.files]
            if not all(path.exists() for path in files):
                return None
            if is_full(error):
                raise no_room(f"compute the metrics of {day}") from None
            # DuckDB's own text can quote values of rows, which no exception may show.
            raise DamagedData(f"the rows of {day} cannot be read ({type(error).__name__})") from None


def due_metrics(settings: Settings, ledger: Ledger, now: datetime, waiting: Waiting) -> list[date]:
    """The days whose metrics are to be computed at ``now``, oldest first: closed, inside raw retention, and
    never computed or changed since.

    Args:
        waiting: the days of a data type for which something landed and waits; None where it could be any.
    """
    known = {name: ledger.known_days(name) for name in DATA_TYPES}
    held = {name: waiting(name) for name in DATA_TYPES}
    noted = ledger.keeping.metrics()
    start = max(oldest_kept_day(now, settings.raw_retention_days), settings.first_day)
    end = now.date() - timedelta(days=1)
    due = []
    for day in days_between(start, end):
        versions = {name: days[day].version if day in days else 0 for name, days in known.items()}
        if not any(versions.values()) or noted.get(day) == _computed_from(settings, versions):
            continue
        if all(is_closed(day, now, settings, held[name]) for name in DATA_TYPES):
            due.append(day)
    return due


def totals(store: Store, last: date, days: int = SHOWN_DAYS) -> list[DayTotals]:
    """The totals of the days that have metrics, of the ``days`` days up to ``last``, oldest first."""
    first = last - timedelta(days=days - 1)
    rows = _read(
        store,
        "select date, sum(plays)::bigint, sum(completions) / nullif(sum(plays), 0), "
        "sum(rebuffers) / nullif(sum(plays), 0), coalesce(sum(watchTime), 0)::double, "
        "coalesce(sum(adClicks), 0)::bigint from {cells} "
        f"where date between {literal(str(first))} and {literal(str(last))} group by date order by date",
        first,
        last,
    )
    return [DayTotals(*row) for row in rows]


def top_contents(store: Store, day: date, count: int = TOP_CONTENTS) -> list[tuple[Any, ...]]:
    """The contents with the most plays of ``day``, over all devices, what is merged left out.

    Returns:
        Content, plays, completion rate, seconds watched, shares.
    """
    return _read(
        store,
        "select contentId, sum(plays)::bigint, sum(completions) / nullif(sum(plays), 0), sum(watchTime), "
        f"sum(shares)::bigint from {{cells}} where date = {literal(str(day))} and contentId <> "
        f"{literal(OTHER)} group by contentId order by 2 desc, 1 limit {count}",
        day,
        day,
    )


def _cells(store: Store, day: date) -> int:
    return int(
        _read(store, f"select count(*) from {{cells}} where date = {literal(str(day))}", day, day)[0][0]
    )


def _read(store: Store, statement: str, first: date, last: date) -> list[tuple[Any, ...]]:
    """The rows of a statement over the table, ``{cells}``, of some days; planned again if files were
    replaced."""
    for _ in range(ATTEMPTS):
        files = store.files(METRICS_TABLE, first, last)
        source = parquet(files) if files else f"({_EMPTY} limit 0)"
        with (
            suppress(duckdb.IOException, FileNotFoundError),
            answering(),
            duckdb.connect(config={"threads": 1}) as connection,
        ):
            if files:
                objects.for_duckdb(connection, files[0])
            return connection.execute(statement.format(cells=source)).fetchall()
    raise TransientError("the daily metrics were replaced by others each time; try again")


_EMPTY = "select " + ", ".join(
    f"null::{'date' if f.name == 'date' else 'varchar' if pa.types.is_string(f.type) else 'double'} "
    f'as "{f.name}"'
    for f in METRICS_SCHEMA
)
