"""Reading the store's files: a thread's DuckDB connection, and the rows an export is made of.

Owns which rows belong to an export, as SQL, and what a file that cannot be read means.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import duckdb
import pyarrow as pa
from upath import UPath

from export_pipeline import objects
from export_pipeline.days import midnight
from export_pipeline.errors import DamagedData, ExportPipelineError
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports import encoding
from export_pipeline.exports.encoding import Lines, Rows
from export_pipeline.exports.request import Filters, Format
from export_pipeline.outages import answering, explained
from export_pipeline.sql import parquet
from export_pipeline.storage_full import is_full, no_room

_MEMORY = "384MB"
"""Bound of a connection. Below it a sort gives pages back and faults them in: a fifth of all time."""

_local = threading.local()


class FileGone(Exception):
    """A store file is not there; it may have been compacted since the files were planned."""

    def __init__(self, path: UPath) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True)
class Scan:
    """The rows of one day of a data type that are part of an export; plain data, sent to workers.

    Rows count of which ``batchSequence`` is above ``after``, and not above ``watermark``; ``spill`` is a
    folder for what does not fit into memory.
    """

    data_type: str
    day: date
    files: tuple[UPath, ...]
    watermark: int
    filters: Filters
    spill: str
    after: int = 0

    def source(self) -> str:
        """A table expression with all columns of the rows wanted; its parameters are ``parameters``."""
        begin = midnight(self.day)
        conditions = [between(begin, begin + timedelta(days=1)), f"batchSequence <= {self.watermark}"]
        if self.after:
            conditions.append(f"batchSequence > {self.after}")
        wanted = self.filters
        for column, values in (
            ("contentId", wanted.content_ids),
            ("userId", wanted.user_ids),
            ("event", wanted.event_types),
        ):
            if values:
                conditions.append(f"{column} in (select unnest(${column}::varchar[]))")
        return f"(from {parquet(self.files)} where {' and '.join(conditions)})"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of its files that are read."""
        fields = DATA_TYPES[self.data_type].incoming_fields
        return (*(field.name for field in fields), "batchSequence")

    def lines(self, format: Format, rows: Rows, connection: duckdb.DuckDBPyConnection) -> Lines:
        """The line of each of ``rows``, of those columns; see ``encoding.lines``."""
        return encoding.lines(self.data_type, format, rows, connection)

    def parameters(self) -> Mapping[str, list[str]]:
        """The values of the filters, by the names that ``source`` uses."""
        wanted = {
            "contentId": self.filters.content_ids,
            "userId": self.filters.user_ids,
            "event": self.filters.event_types,
        }
        return {name: list(values) for name, values in wanted.items() if values}


@dataclass(frozen=True)
class LineScan(Scan):
    """Lines of one day that are there already, in columns ``timestamp``, ``eventId`` and ``line``."""

    def source(self) -> str:
        """A table expression with those columns."""
        return f"(from {parquet(self.files)})"

    @property
    def columns(self) -> tuple[str, ...]:
        """Those columns."""
        return "timestamp", "eventId", "line"

    def lines(self, format: Format, rows: Rows, connection: duckdb.DuckDBPyConnection) -> Lines:
        """The lines of ``rows`` as they are."""
        return encoding.ready_lines(rows)


def instant(moment: datetime) -> str:
    """``moment`` as a SQL constant that lets row groups be skipped."""
    return f"'{moment.isoformat()}'::timestamptz"


def between(begin: datetime, end: datetime) -> str:
    """The condition that ``timestamp`` is in ``[begin, end)``."""
    return f"timestamp >= {instant(begin)} and timestamp < {instant(end)}"


def connection(spill: str) -> duckdb.DuckDBPyConnection:
    """This thread's connection: one DuckDB thread and bounded memory.

    What does not fit into memory goes to the folder ``spill``; DuckDB cannot change it once used, so
    another folder is another connection.
    """
    held: tuple[str, duckdb.DuckDBPyConnection] | None = getattr(_local, "held", None)
    if held is None or held[0] != spill:
        made = duckdb.connect(config={"threads": 1, "memory_limit": _MEMORY, "temp_directory": spill})
        made.execute("set timezone = 'UTC'")
        held = _local.held = (spill, made)
    return held[1]


@contextmanager
def reading(scan: Scan) -> Iterator[duckdb.DuckDBPyConnection]:
    """This thread's connection, for reading ``scan``.

    Raises:
        FileGone: if a file of the scan is not there.
        DamagedData: if a file of the scan cannot be read, naming it.
        StorageFull: if there is no room for what does not fit into memory.
        TransientError: if the object store does not answer.
    """
    try:
        found = connection(scan.spill)
        if scan.files:
            objects.for_duckdb(found, scan.files[0])
        yield found
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        _local.held = None
        if outage := explained(error):
            raise outage from None
        if is_full(error):
            raise no_room(f"sort the {scan.data_type} of {scan.day}") from None
        for path in scan.files:
            _check_readable(path)
        # DuckDB's own text can quote values of rows, which no exception may show.
        raise ExportPipelineError(
            f"the {scan.data_type} of {scan.day} could not be read ({type(error).__name__})"
        ) from None


def _check_readable(path: UPath) -> None:
    with answering():
        if not path.exists():
            raise FileGone(path)
    try:
        with duckdb.connect(config={"threads": 1}) as fresh:
            objects.for_duckdb(fresh, path)
            fresh.execute(f"select max(hash(columns(*))) from {parquet([path])}").fetchall()
    except (duckdb.Error, OSError) as error:
        if outage := explained(error):
            raise outage from None
        raise DamagedData(
            f"store file {objects.label(path)} cannot be read; it is not what was written"
        ) from None
