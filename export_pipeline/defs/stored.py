"""What a materialization shows of the rows of a day in the store: size, checksum, place, and a preview."""

import hashlib
from collections.abc import Sequence
from datetime import date

import dagster as dg
import duckdb
from upath import UPath

from export_pipeline import objects
from export_pipeline.exports.readback import digest
from export_pipeline.sql import parquet
from export_pipeline.store import Store

_ATTEMPTS = 4
_PREVIEWED = 20


def of_day(store: Store, table: str, day: date) -> dict[str, dg.MetadataValue]:
    """The bytes, checksum and folder of a day's files.

    The checksum is the SHA-256 over those of the files, in the order of their names.
    """
    for left in reversed(range(_ATTEMPTS)):
        files = sorted(store.files(table, day, day), key=lambda file: file.name)
        try:
            sizes = [file.stat().st_size for file in files]
            digests = [digest(file) for file in files]
        except FileNotFoundError:
            # Merged into others meanwhile; those are looked at.
            if not left:
                raise
            continue
        return {
            "bytes": dg.MetadataValue.int(sum(sizes)),
            "sha256": dg.MetadataValue.text(hashlib.sha256("\n".join(digests).encode()).hexdigest()),
            **_place(files),
        }
    raise AssertionError("unreachable")


def _place(files: Sequence[UPath]) -> dict[str, dg.MetadataValue]:
    return {"directory": dg.MetadataValue.path(str(files[0].parent))} if files else {}


def counted_preview(store: Store, table: str, day: date) -> dg.MetadataValue:
    """How many rows a day has of each event and device type: a preview without a person in it."""
    for left in reversed(range(_ATTEMPTS)):
        files = store.files(table, day, day)
        rows: list[tuple[str, str, int]] = []
        if files:
            try:
                with duckdb.connect(config={"threads": 1}) as connection:
                    objects.for_duckdb(connection, files[0])
                    rows = connection.execute(
                        f"select event, deviceType, count(*) from {parquet(files)} "
                        f"group by all order by 3 desc, 1, 2 limit {_PREVIEWED}"
                    ).fetchall()
            except duckdb.IOException:
                if not left:
                    raise
                continue
        lines = ["| event | device | rows |", "|---|---|---:|"]
        lines += [f"| {event} | {device} | {count:,} |" for event, device, count in rows]
        return dg.MetadataValue.md("\n".join(lines))
    raise AssertionError("unreachable")
