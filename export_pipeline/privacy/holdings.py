"""What is held of a person: their rows of each data type, and what the user tables say of them.

Rows are found in the files of the person's user buckets in one pass, and stand in a table of the reading
connection, which spills what does not fit into memory. They leave it window by window.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import duckdb
import pyarrow as pa
from upath import UPath

from export_pipeline.events.catalogue import DATA_TYPES, USER_TABLES, UserTable
from export_pipeline.exports.encoding import contents, in_their_order
from export_pipeline.exports.manifest import instant_text
from export_pipeline.ledger import Days, Ledger
from export_pipeline.privacy.identity import Person
from export_pipeline.sql import parquet, quoted
from export_pipeline.store import Store

_BATCH_ROWS = 8192
_HELD = "held"

UserRow = Mapping[str, Any]
"""A row of a user table: instants as text, objects as JSON text."""


@dataclass(frozen=True)
class Rows:
    """A person's rows of a data type as of one look at the ledger: by day and by event, and withheld."""

    data_type: str
    look: Days
    days: Mapping[date, int]
    events: Mapping[str, int]
    first_us: int | None
    last_us: int | None
    withheld: int

    @property
    def count(self) -> int:
        """The rows shown."""
        return sum(self.days.values())


def find_rows(
    reading: duckdb.DuckDBPyConnection, store: Store, ledger: Ledger, person: Person, data_type: str
) -> Rows:
    """Find a person's rows of a data type; those shown stand in the connection, for ``lines``."""
    table = DATA_TYPES[data_type].table
    look = ledger.read_days(data_type, date.min, date.max)
    _take(reading, store.files_of_users(table, person.ids), person.ids, look.watermark)
    counted = reading.execute(
        f"select timestamp::date, event, count(*) from {_HELD} group by all order by all"
    ).fetchall()
    days, events = Counter[date](), Counter[str]()
    for day, event, rows in counted:
        days[day] += rows
        events[event] += rows
    first, last = _one(reading, f"select epoch_us(min(timestamp)), epoch_us(max(timestamp)) from {_HELD}")
    withheld = 0
    if files := store.files_of_users(table, person.contested):
        (withheld,) = _one(
            reading, f"select count(*) from {_theirs(files, look.watermark)}", _asked(person.contested)
        )
    return Rows(data_type, look, days, events, first, last, withheld)


def lines(reading: duckdb.DuckDBPyConnection, rows: Rows, window_rows: int) -> Iterator[bytes]:
    """The rows found last, as lines of JSON in export order, some thousand at a time.

    Args:
        window_rows: rows sorted at a time; more where they are of one instant.
    """
    cuts: Sequence[tuple[datetime | None]] = reading.execute(
        f"select distinct timestamp from (select timestamp, row_number() over (order by timestamp) as place "
        f"from {_HELD}) where place % $window = 0 order by timestamp",
        {"window": window_rows},
    ).fetchall()
    begins = [None, *(cut for (cut,) in cuts)]
    with reading.cursor() as evaluating:  # beside the rows, which are still being read
        for begin, end in zip(begins, [*begins[1:], None], strict=True):
            found = reading.sql(
                f"from {_HELD} where ($begin is null or timestamp >= $begin::timestamptz) "
                "and ($end is null or timestamp < $end::timestamptz) order by timestamp, eventId",
                params={"begin": begin, "end": end},
            )
            for batch in found.to_arrow_reader(_BATCH_ROWS):
                if batch.num_rows:
                    held = pa.Table.from_batches([batch])
                    yield from contents(rows.data_type, "jsonl", in_their_order([held]), evaluating)


def user_rows(
    reading: duckdb.DuckDBPyConnection, store: Store, person: Person, landing: str
) -> tuple[UserRow, ...]:
    """The newest row of each key of the person in the user table of a landing folder, in the keys' order."""
    table = USER_TABLES[landing]
    files = store.files_of_users(table.name, person.ids)
    if not files:
        return ()
    columns = ", ".join(
        f"epoch_us({quoted(field.name)})" if field.datetime else quoted(field.name) for field in table.fields
    )
    key = ", ".join(map(quoted, table.key))
    found = reading.execute(
        f"select {columns} from {parquet(files)} where userId in (select unnest($ids::varchar[])) "
        f"qualify row_number() over (partition by {key} "
        f"order by {quoted(table.newest_by)} desc, batchSequence desc) = 1 order by {key}",
        _asked(person.ids),
    ).fetchall()
    return tuple(_user_row(table, values) for values in found)


def _user_row(table: UserTable, values: Sequence[Any]) -> UserRow:
    return {
        field.name: instant_text(value) if field.datetime else value
        for field, value in zip(table.fields, values, strict=True)
    }


def _take(
    reading: duckdb.DuckDBPyConnection, files: Sequence[UPath], ids: Collection[str], watermark: int
) -> None:
    source = _theirs(files, watermark) if files else "(select null::timestamptz as timestamp, '' as event)"
    nothing = "" if files else "where false"
    reading.execute(
        f"create or replace temp table {_HELD} as select * from {source} {nothing}",
        _asked(ids) if files else None,
    )


def _theirs(files: Sequence[UPath], watermark: int) -> str:
    # A join with the ids is pushed into the reading of each file; a list of them is not.
    return (
        f"(from {parquet(files)} where userId in (select unnest($ids::varchar[])) "
        f"and batchSequence <= {watermark})"
    )


def _asked(ids: Collection[str]) -> dict[str, list[str]]:
    return {"ids": sorted(ids)}


def _one(reading: duckdb.DuckDBPyConnection, query: str, parameters: Any = None) -> tuple[Any, ...]:
    found = reading.execute(query, parameters).fetchone()
    assert found is not None
    return tuple(found)
