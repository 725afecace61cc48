"""A DuckDB database with tables like ours as a source: what is new in it, as landing files.

A row becomes the JSON line it would have landed as, so that every rule of ingest holds for it as for a file.
Timestamps without a zone are UTC. What is new is told by the instant at which rows were received
(``receivedAt``; in a user table the instant that says which row is newest).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from export_pipeline.days import utc_now
from export_pipeline.errors import InvalidRequest, TransientError
from export_pipeline.events.catalogue import DATA_TYPES, USER_TABLES
from export_pipeline.files import scratch_directory
from export_pipeline.ingest.batches import SCRATCH, exclusively
from export_pipeline.ingest.landing import WaitingFile
from export_pipeline.ingest.report import Report
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.sql import literal, quoted
from export_pipeline.store import Store
from export_pipeline.store.tables import TABLE_OF

BATCH_ROWS = 1_000_000
_MEMORY = "512MB"
_EPOCH = datetime.fromtimestamp(0, UTC)
_INSTANT_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def ingest_database(
    settings: Settings,
    store: Store,
    ledger: Ledger,
    path: Path,
    *,
    now: datetime | None = None,
    read: Callable[[int], None] | None = None,
) -> Report:
    """Take the rows of the database at ``path`` that are new since the last time.

    Rows received in the ``duckdb_overlap_minutes`` before are read again, as they can become visible late;
    what was taken already is refused as duplicate. Rows that do not say when they were received are taken the
    first time only, as later ones cannot be told from them. A run that is killed is put right by the next.

    Args:
        read: told the bytes of each piece that was read.

    Raises:
        InvalidRequest: if ``path`` is no DuckDB database with tables like ours.
        TransientError: if another process has it open for writing.
    """
    source = str(path.absolute())
    overlap = timedelta(minutes=settings.duckdb_overlap_minutes)
    with (
        exclusively(settings, store, ledger, now or utc_now(), read) as run,
        scratch_directory(settings.tmp, SCRATCH) as scratch,
        opened(path, scratch / "spill") as database,
    ):
        for target in database.targets():
            read_to = ledger.read_to(source, target)
            file = scratch / f"{TABLE_OF[target]}.jsonl"
            if read_to is None and database.write_undated(target, file):
                run.take_paths(target, [WaitingFile(file, file.stat().st_size)], now or utc_now())
                ledger.move_watermark(source, target, _EPOCH)
            after = read_to - overlap if read_to else None
            while until := database.next_until(target, after):
                taken_at = now or utc_now()
                database.write(target, after, until, file)
                run.take_paths(target, [WaitingFile(file, file.stat().st_size)], taken_at)
                # An instant in the future must not make what comes before it look old.
                ledger.move_watermark(source, target, min(until, taken_at))
                after = until
    return run.report


def new_targets(settings: Settings, ledger: Ledger, path: Path) -> list[str]:
    """The targets of which the database at ``path`` has rows received after those taken last.

    Raises:
        InvalidRequest, TransientError: see ``ingest_database``.
    """
    source = str(path.absolute())
    with opened(path, settings.tmp) as database:
        return [
            target
            for target in database.targets()
            if (newest := database.newest(target))
            and newest > (ledger.read_to(source, target) or datetime.min.replace(tzinfo=UTC))
        ]


def received_column(target: str) -> str:
    """The column of a target's table that tells which rows are new."""
    return "receivedAt" if target in DATA_TYPES else USER_TABLES[target.removeprefix("users/")].newest_by


class Database:
    """An open source database; make it with ``opened``."""

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self._path = path
        self._connection = connection

    def targets(self) -> list[str]:
        """The targets of which the database has a table.

        Raises:
            InvalidRequest: if it has none, or one lacks the column that tells what is new.
        """
        found = self._connection.execute(
            "select table_name from information_schema.tables where table_catalog = 'source'"
        ).fetchall()
        names = {name for (name,) in found}
        targets = [target for target, table in TABLE_OF.items() if table in names]
        if not targets:
            raise InvalidRequest(
                f"{self._path.name} has none of the tables {', '.join(TABLE_OF.values())}", field="duckdb"
            )
        for target in targets:
            column = received_column(target)
            if column not in self._columns(target):
                raise InvalidRequest(
                    f"table {TABLE_OF[target]} of {self._path.name} has no column {column}; "
                    "it tells which rows are new",
                    field="duckdb",
                )
        return targets

    def next_until(self, target: str, after: datetime | None) -> datetime | None:
        """The instant up to which the next rows after ``after`` reach, about ``BATCH_ROWS`` of them.

        Args:
            after: None for all rows.

        Returns:
            None if there are none.
        """
        received = self._received(target)
        row = self._connection.execute(
            f"select max(received) from (select {received} as received from {_table(target)} "
            f"where {_after(received, after)} order by received limit {BATCH_ROWS})"
        ).fetchone()
        return row[0].replace(tzinfo=UTC) if row and row[0] else None

    def newest(self, target: str) -> datetime | None:
        """The instant at which the newest row was received; one in the future counts as none."""
        received = self._received(target)
        row = self._connection.execute(
            f"select max({received}) from {_table(target)} where {received} <= {_constant(utc_now())}"
        ).fetchone()
        return row[0].replace(tzinfo=UTC) if row and row[0] else None

    def write(self, target: str, after: datetime | None, until: datetime, to: Path) -> None:
        """Write the rows received in ``(after, until]`` to ``to``, one JSON object a line."""
        received = self._received(target)
        self._copy(target, f"{_after(received, after)} and {received} <= {_constant(until)}", to)

    def write_undated(self, target: str, to: Path) -> bool:
        """Write the rows that do not say when they were received to ``to``; whether there are any."""
        return self._copy(target, f"{self._received(target)} is null", to) > 0

    def _copy(self, target: str, condition: str, to: Path) -> int:
        columns = ", ".join(
            f"{_as_landed(name, kind)} as {quoted(name)}" for name, kind in self._columns(target).items()
        )
        copied = self._connection.execute(
            f"copy (select {columns} from {_table(target)} where {condition}) "
            f"to {literal(str(to))} (format json)"
        ).fetchone()
        return int(copied[0]) if copied else 0

    def _columns(self, target: str) -> dict[str, str]:
        described = self._connection.execute(f"describe {_table(target)}").fetchall()
        return {name: kind for name, kind, *_ in described}

    def _received(self, target: str) -> str:
        """The received instant as a timestamp in UTC; null where it is none."""
        return f"try_cast({quoted(received_column(target))} as timestamp)"


@contextmanager
def opened(path: Path, spill: Path) -> Iterator[Database]:
    """The database at ``path``, for reading only.

    Raises:
        InvalidRequest: if there is no DuckDB database at ``path``.
        TransientError: if another process has it open for writing.
    """
    if not path.is_file():
        raise InvalidRequest(f"duckdb is {path}; it must be an existing DuckDB database", field="duckdb")
    with duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": str(spill)}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        try:
            connection.execute(f"attach {literal(str(path))} as source (read_only)")
        except duckdb.IOException as error:
            if "lock" in str(error):
                raise TransientError(
                    f"{path.name} is open for writing in another process; it is read once it is closed"
                ) from None
            raise InvalidRequest(f"duckdb is {path}; it must be a DuckDB database", field="duckdb") from None
        yield Database(path, connection)


def _table(target: str) -> str:
    return f"source.{quoted(TABLE_OF[target])}"


def _after(received: str, after: datetime | None) -> str:
    return f"{received} is not null" if after is None else f"{received} > {_constant(after)}"


def _constant(instant: datetime) -> str:
    return f"{literal(instant.astimezone(UTC).replace(tzinfo=None).isoformat())}::timestamp"


def _as_landed(name: str, kind: str) -> str:
    """The column as it would stand in a landing line."""
    column = quoted(name)
    if kind.startswith("TIMESTAMP"):
        return f"strftime({column}::timestamp, {literal(_INSTANT_FORMAT)})"
    if kind.startswith(("STRUCT", "MAP")):
        # A struct has all fields in every row; those an event does not have are null in it.
        return f"json_merge_patch('{{}}', to_json({column}))"
    if kind == "VARCHAR" and name in _OBJECTS:
        return f"case when json_valid({column}) then {column}::json else to_json({column}) end"
    return column


_OBJECTS = {
    field.name
    for fields in (
        *(data_type.row_fields for data_type in DATA_TYPES.values()),
        *(table.fields for table in USER_TABLES.values()),
    )
    for field in fields
    if field.type == "object"
}
