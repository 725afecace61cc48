"""Inputs: deployments filled with events through the product, kept between runs in a working directory.

Owns which rows are measured on. A sampled day comes from ``sample`` by ``ingest``; more rows and more days
are copies of it, moved in time and with event ids of their own, appended through the store and the ledger.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from export_pipeline.days import midnight
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.events.sample import write_sample
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Counts, Ledger
from export_pipeline.settings import Settings, load, variable
from export_pipeline.sql import literal, parquet
from export_pipeline.store import Store
from export_pipeline.store.tables import PROPERTIES, arrow_schema

DATA_TYPE = "events"
TABLE = DATA_TYPES[DATA_TYPE].table
DAY = date(2026, 11, 20)
SEED = 1
ROWS_A_USER = 20
CHUNK_ROWS = 1 << 18

_SHARE = 0.957
"""The part of a sample's rows that are of ``DATA_TYPE`` and are accepted, about."""


@dataclass(frozen=True)
class Input:
    """A deployment whose store holds ``rows`` rows of ``DATA_TYPE`` on the ``days`` days up to ``end``."""

    home: Path
    end: date
    days: int
    rows: int

    @property
    def settings(self) -> Settings:
        """The deployment's settings: the defaults, but for the state root."""
        return deployment(self.home)

    @property
    def files(self) -> list[str]:
        """The Parquet files of the store, whole days."""
        return [str(path) for path in Store(self.settings).files(TABLE)]


def deployment(home: Path | str) -> Settings:
    """The default settings over the state root ``home``."""
    return load({variable("home"): str(home), variable("first_day"): "2020-01-01"})


def now_after(day: date) -> datetime:
    """An instant at which ``day`` is closed and still kept."""
    return datetime.combine(day + timedelta(days=2), time(12), UTC)


def sampled_day(workdir: Path, rows: int) -> Input:
    """A day of about ``rows`` rows as ``sample`` makes them and ``ingest`` stores them."""
    home, found = _kept(workdir, f"sampled-{rows}")
    if found:
        return found
    made = home / "sample"
    total = round(rows / _SHARE)
    write_sample(made, 1, DAY, total, max(100, total // ROWS_A_USER), SEED)
    settings = deployment(home)
    settings.landing.mkdir(parents=True)
    (made / DATA_TYPE).rename(settings.landing / DATA_TYPE)
    shutil.rmtree(made)
    store, ledger = Store(settings), Ledger(settings)
    ingest_landing(settings, store, ledger, now=now_after(DAY))
    shutil.rmtree(settings.landing)
    return _keep(Input(home, DAY, 1, ledger.read_days(DATA_TYPE, DAY, DAY)[DAY].rows))


def multiplied_day(workdir: Path, base: Input, copies: int) -> Input:
    """The day of ``base`` several times over, each copy turned round the clock by a part of a day.

    ``copies`` divides 24. Equal sessions are hours apart, so compression gains nothing from the copies.
    """
    home, found = _kept(workdir, f"multiplied-{base.rows}-{copies}")
    if found:
        return found
    settings, source = deployment(home), parquet(base.files)
    turn = 24 // copies
    queries = []
    for hour in range(24):
        parts = []
        for copy in range(copies):
            taken = (hour - copy * turn) % 24
            begin = midnight(base.end) + timedelta(hours=taken)
            moved = timedelta(hours=hour - taken)
            parts.append(_moved(source, begin, timedelta(hours=1), moved, f"_{copy}"))
        queries.append(" union all ".join(parts))
    rows = _append(settings, queries, base.end)
    return _keep(Input(home, base.end, 1, rows))


def copied_day(settings: Settings, base: Input) -> int:
    """Commit the rows of the last day of ``base`` to another deployment; how many they are."""
    source = parquet(base.files)
    hours = (midnight(base.end) + timedelta(hours=hour) for hour in range(24))
    queries = [_moved(source, begin, timedelta(hours=1), timedelta(), "") for begin in hours]
    return _append(settings, queries, base.end)


def many_days(workdir: Path, base: Input, days: int, rows_a_day: int, end: date) -> Input:
    """``days`` days up to ``end``, a day's rows chosen by chance from those of ``base``; a commit a day."""
    home, found = _kept(workdir, f"days-{days}-{rows_a_day}-{end}")
    if found:
        return found
    settings = deployment(home)
    rows = 0
    for offset in range(days):
        rows += add_rows(settings, base, rows_a_day, end - timedelta(days=offset), "", offset)
    return _keep(Input(home, end, days, rows))


def add_rows(settings: Settings, base: Input, rows: int, day: date, suffix: str, seed: int = 0) -> int:
    """Commit about ``rows`` rows of ``day``, chosen by chance from those of ``base``; how many they were.

    Args:
        suffix: what their event ids end in besides the day.
    """
    chosen = f"(from {parquet(base.files)} where hash(eventId, {seed}) % {base.rows} < {rows})"
    ending = f"_{day:%y%m%d}{suffix}"
    whole = _moved(chosen, midnight(base.end), timedelta(days=1), day - base.end, ending)
    return _append(settings, [whole], day)


def _moved(source: str, begin: datetime, length: timedelta, moved: timedelta, suffix: str) -> str:
    """A query for the rows of ``length`` from ``begin`` on, moved in time, with event ids of their own."""
    instants = ", ".join(
        f"{name}::timestamp + to_seconds({moved.total_seconds()}) as {name}"
        for name in ("timestamp", "receivedAt")
    )
    return (
        f"select * replace ({instants}, concat(eventId, {literal(suffix)}) as eventId) from {source} "
        f"where timestamp >= {_instant(begin)} and timestamp < {_instant(begin + length)}"
    )


def _instant(moment: datetime) -> str:
    return f"{literal(moment.isoformat())}::timestamptz"


def _append(settings: Settings, queries: Sequence[str], day: date) -> int:
    """Append the rows of the queries, each sorted, in one commit, and tell the ledger; how many they were."""
    store, ledger, rows = Store(settings), Ledger(settings), 0
    now = now_after(day)
    batch = ledger.take_batch(DATA_TYPE, "paths", [], now)

    def chunks() -> Iterator[pa.Table]:
        nonlocal rows
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            for query in queries:
                found = connection.sql(
                    f"select * replace ({batch.sequence}::bigint as batchSequence) from ({query}) "
                    "order by timestamp, eventId"
                ).to_arrow_table()
                rows += found.num_rows
                for start in range(0, found.num_rows, CHUNK_ROWS):
                    yield found.slice(start, CHUNK_ROWS).cast(arrow_schema(DATA_TYPE))

    store.append(TABLE, chunks(), {"batch": batch.id})
    ledger.commit_batch(batch.id, Counts(received=rows, accepted=rows), {day: rows}, now)
    return rows


def _kept(workdir: Path, name: str) -> tuple[Path, Input | None]:
    """Where an input lies, and the input if it is there, whole and laid out as tables are today."""
    layout = hashlib.sha256(f"{sorted(PROPERTIES.items())}{arrow_schema(DATA_TYPE)}".encode()).hexdigest()
    home = workdir / f"{name}-{layout[:8]}"
    if (home / "input.json").exists():
        known = json.loads((home / "input.json").read_text())
        return home, Input(home, date.fromisoformat(known["end"]), known["days"], known["rows"])
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    return home, None


def _keep(made: Input) -> Input:
    known = {"end": made.end.isoformat(), "days": made.days, "rows": made.rows}
    (made.home / "input.json").write_text(json.dumps(known))
    return made
