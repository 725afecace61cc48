"""Reading rows of people: a DuckDB connection of bounded memory, and plans made again when files go.

What does not fit into memory spills to a folder below ``tmp`` that is gone with its process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import duckdb

from export_pipeline import locks, objects
from export_pipeline.errors import DamagedData, ExportPipelineError
from export_pipeline.exports.publishing import HOLDERS, scratch, sweep
from export_pipeline.outages import explained
from export_pipeline.settings import Settings
from export_pipeline.storage_full import is_full, no_room

ATTEMPTS = 4
SCRATCH = "read-"
_FOLDER = "privacy"
_MEMORY = "512MB"

T = TypeVar("T")


@contextmanager
def connection(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of its own, its zone UTC; closed when the block ends."""
    with (
        locks.joined(settings, HOLDERS),
        scratch(settings.tmp / _FOLDER, SCRATCH) as spill,
        duckdb.connect(
            config={
                "threads": settings.workers,
                "memory_limit": _MEMORY,
                "temp_directory": str(spill),
            }
        ) as made,
    ):
        made.execute("set timezone = 'UTC'")
        objects.for_duckdb(made, settings.store)
        yield made


def sweep_reading(settings: Settings) -> None:
    """Remove what processes that died left of what they read."""
    sweep(settings.tmp / _FOLDER, SCRATCH)


def planned_again(read: Callable[[], T]) -> T:
    """The result of ``read``, which plans the files it reads; done again if one is merged away meanwhile.

    Raises:
        DamagedData: if a file cannot be read each time.
        StorageFull: if there is no room for what does not fit into memory.
        TransientError: if the object store does not answer.
    """
    for _ in range(ATTEMPTS):
        try:
            return read()
        except (duckdb.Error, OSError) as error:
            if outage := explained(error):
                raise outage from None
            # DuckDB's own text can quote values of rows, which no exception may show.
            unreadable = isinstance(error, duckdb.IOException | duckdb.InvalidInputException | OSError)
            full, kind = is_full(error), type(error).__name__
        if full:
            raise no_room("read what is held of people")
        if not unreadable:
            raise ExportPipelineError(f"what is stored of people could not be read ({kind})")
    raise DamagedData("a store file cannot be read; it is missing or is not what was written")
