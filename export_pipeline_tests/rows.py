"""Rows as the store takes them, for tests that need some without landing files."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from export_pipeline import objects
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.store import Store
from export_pipeline.store.tables import arrow_schema, table_schema

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def row(number: int, data_type: str = "events", **values: Any) -> dict[str, Any]:
    """Row ``number``: a second after the one before it, its ids made from its number."""
    at = NOON + timedelta(seconds=number)
    defaults: dict[str, Any] = {
        "event": DATA_TYPES[data_type].events[0].name,
        "contentId": f"vid_{number % 7}",
        "userId": f"user_{number % 5:08d}",
        "timestamp": at,
        "sessionId": "ses_1",
        "deviceType": "ios",
        "data": "{}",
        "deviceId": None,
        "country": "DE",
        "eventId": f"evt_{number:08d}",
        "receivedAt": at,
        "batchSequence": 1,
    }
    if DATA_TYPES[data_type].has_current_time:
        defaults["currentTime"] = 1.5
    return defaults | values


def in_store(store: Store, name: str, start: date | None = None, end: date | None = None) -> pa.Table:
    """The rows in the store's files of a table, of whole days."""
    files = [objects.for_arrow(path) for path in store.files(name, start, end)]
    empty = table_schema(name).empty_table()
    return pa.concat_tables([pq.read_table(file, partitioning=None) for file in files] or [empty])


def table(rows: Sequence[Mapping[str, Any]], data_type: str = "events") -> pa.Table:
    """``rows`` in the columns of the data type's table."""
    return pa.Table.from_pylist(list(rows), schema=arrow_schema(data_type))
