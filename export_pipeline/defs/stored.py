"""What a materialization shows of rows in the store: size, checksum, place, and a preview without a person in
it."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, TypeVar

import dagster as dg
import duckdb
from upath import UPath

from export_pipeline import objects
from export_pipeline.events.catalogue import UserTable
from export_pipeline.exports.readback import digest
from export_pipeline.sql import parquet, quoted
from export_pipeline.store import Store

_ATTEMPTS = 4
_PREVIEWED = 20

T = TypeVar("T")


def of_day(store: Store, table: str, day: date) -> dict[str, dg.MetadataValue]:
    """The bytes, checksum and folder of a day's files.

    The checksum is the SHA-256 over those of the files, in the order of their names.
    """
    return _found(lambda: store.files(table, day, day), _sums)


def counted_preview(store: Store, table: str, day: date) -> dg.MetadataValue:
    """How many rows a day has of each event and device type."""

    def counted(files: Sequence[UPath]) -> dg.MetadataValue:
        rows = _asked(
            files,
            f"select event, deviceType, count(*) from {parquet(files)} "
            f"group by all order by 3 desc, 1, 2 limit {_PREVIEWED}",
        )
        lines = ["| event | device | rows |", "|---|---|---:|"]
        lines += [f"| {event} | {device} | {count:,} |" for event, device, count in rows]
        return dg.MetadataValue.md("\n".join(lines))

    return _found(lambda: store.files(table, day, day), counted)


def of_users(store: Store, table: UserTable) -> dict[str, dg.MetadataValue]:
    """The rows, bytes, checksum and folder of all that a user table holds, and how many rows are of each of
    the newest days."""
    day = f"({quoted(table.newest_by)} at time zone 'UTC')::date"

    def counted(files: Sequence[UPath]) -> dict[str, dg.MetadataValue]:
        days = _asked(files, f"select {day}, count(*) from {parquet(files)} group by all order by 1 desc")
        lines = [f"| {table.newest_by} | rows |", "|---|---:|"]
        lines += [f"| {of} | {count:,} |" for of, count in days[:_PREVIEWED]]
        return {
            "rows": dg.MetadataValue.int(sum(count for _, count in days)),
            **_sums(files),
            "preview": dg.MetadataValue.md("\n".join(lines)),
        }

    return _found(lambda: store.files(table.name), counted)


def _found(files: Callable[[], Sequence[UPath]], look: Callable[[Sequence[UPath]], T]) -> T:
    """What ``look`` finds in files that may be merged into others meanwhile; those are looked at then."""
    for left in reversed(range(_ATTEMPTS)):
        try:
            return look(files())
        except (FileNotFoundError, duckdb.IOException):
            if not left:
                raise
    raise AssertionError("unreachable")


def _asked(files: Sequence[UPath], query: str) -> list[Any]:
    if not files:
        return []
    with duckdb.connect(config={"threads": 1}) as connection:
        objects.for_duckdb(connection, files[0])
        return connection.execute(query).fetchall()


def _sums(files: Sequence[UPath]) -> dict[str, dg.MetadataValue]:
    files = sorted(files, key=lambda file: file.name)
    sizes = [file.stat().st_size for file in files]
    digests = [digest(file) for file in files]
    return {
        "bytes": dg.MetadataValue.int(sum(sizes)),
        "sha256": dg.MetadataValue.text(hashlib.sha256("\n".join(digests).encode()).hexdigest()),
        **_place(files),
    }


def _place(files: Sequence[UPath]) -> dict[str, dg.MetadataValue]:
    """The deepest folder that holds them all."""
    if not files:
        return {}
    folder = next(above for above in files[0].parents if all(above in file.parents for file in files))
    return {"directory": dg.MetadataValue.path(str(folder))}
