"""The tables of the store: their columns, partitions and properties, derived from the catalogue."""

from collections.abc import Iterable, Mapping
from functools import cache

import pyarrow as pa

from export_pipeline.events.catalogue import DATA_TYPES, USER_TABLES, Field
from export_pipeline.events.metrics import METRICS

USER_BUCKETS = 4
ROW_GROUP_ROWS = 8_192

TABLE_OF: Mapping[str, str] = {
    **{name: data_type.table for name, data_type in DATA_TYPES.items()},
    **{f"users/{landing}": table.name for landing, table in USER_TABLES.items()},
}
"""The table of each target: a data type, or ``users/<landing folder>``."""

TABLES = tuple(TABLE_OF.values())
"""The tables that hold people: events, and what is known of users."""

METRICS_TABLE = "daily_metrics"
"""The table of aggregates; it holds no user id."""

ALL_TABLES = (*TABLES, METRICS_TABLE)

_INSTANT = pa.timestamp("us", "UTC")
_ARROW: Mapping[str, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "object": pa.string(),
    "any": pa.string(),
}

PROPERTIES: Mapping[str, str] = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.parquet.compression-level": "1",
    "write.parquet.row-group-limit": str(ROW_GROUP_ROWS),
    # A dictionary of texts that hardly repeat costs time and space; those of a group that do are smaller.
    "write.parquet.dict-size-bytes": str(1 << 18),
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "1",
    "write.delete.isolation-level": "snapshot",
    "commit.retry.num-retries": "20",
    "commit.retry.min-wait-ms": "50",
    # Minima and maxima of ids would put them into manifests, out of an erasure's reach.
    "write.metadata.metrics.default": "none",
    "write.metadata.metrics.column.timestamp": "full",
    "write.metadata.metrics.column.batchSequence": "full",
}


def _arrow_fields(fields: Iterable[Field]) -> list[pa.Field]:
    return [pa.field(f.name, _INSTANT if f.datetime else _ARROW[f.type], nullable=f.nullable) for f in fields]


@cache
def arrow_schema(target: str) -> pa.Schema:
    """The columns of a target's table: its catalogue fields, then ``batchSequence``.

    Objects are JSON text; instants are UTC with microseconds, their values whole milliseconds.
    """
    landing = target.removeprefix("users/")
    fields = DATA_TYPES[target].incoming_fields if target in DATA_TYPES else USER_TABLES[landing].fields
    return pa.schema([*_arrow_fields(fields), pa.field("batchSequence", pa.int64(), nullable=False)])


METRICS_SCHEMA = pa.schema(
    [
        pa.field("date", pa.date32(), nullable=False),
        pa.field("contentId", pa.string(), nullable=False),
        pa.field("deviceType", pa.string(), nullable=False),
        *(pa.field(m.name, _ARROW[m.type], nullable=m.nullable) for m in METRICS),
    ]
)
"""The columns of ``METRICS_TABLE``."""


def table_schema(table: str) -> pa.Schema:
    """The columns of any table."""
    if table == METRICS_TABLE:
        return METRICS_SCHEMA
    return arrow_schema(target_of(table))


def day_column(table: str) -> str | None:
    """The column by whose day a table is partitioned; None for a user table."""
    if table == METRICS_TABLE:
        return "date"
    return "timestamp" if has_days(table) else None


def has_days(table: str) -> bool:
    """Whether a table holds events, partitioned by the day of ``timestamp``; user tables are not."""
    return any(table == data_type.table for data_type in DATA_TYPES.values())


def sort_order(table: str) -> tuple[str, ...]:
    """The columns by which the rows of a table's files are sorted."""
    if has_days(table):
        return ("timestamp", "eventId")
    user_table = next(known for known in USER_TABLES.values() if known.name == table)
    return (*user_table.key, user_table.newest_by)


@cache
def texts(table: str) -> tuple[str, ...]:
    """The columns of a table that hold text, and so could hold somebody's id."""
    return tuple(f.name for f in table_schema(table) if pa.types.is_string(f.type))


@cache
def repeating(table: str) -> tuple[str, ...]:
    """The text columns of which many rows share a value: all but objects and the ids of events."""
    target = target_of(table)
    data_type = DATA_TYPES.get(target)
    fields = data_type.incoming_fields if data_type else USER_TABLES[target.removeprefix("users/")].fields
    objects = {f.name for f in fields if f.type in ("object", "any")}
    return tuple(name for name in texts(table) if name not in objects | {"eventId"})


def target_of(table: str) -> str:
    """The target of a table."""
    return next(target for target, known in TABLE_OF.items() if known == table)
