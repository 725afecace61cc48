"""Read-only SQL over the store: one DuckDB view a table (contract, section 9, ``query``)."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa
from upath import UPath

from export_pipeline import objects
from export_pipeline.errors import InvalidRequest, TransientError
from export_pipeline.events.catalogue import USER_TABLES
from export_pipeline.outages import answering, is_gone
from export_pipeline.settings import Settings
from export_pipeline.sql import literal, parquet, quoted
from export_pipeline.store.store import Store
from export_pipeline.store.tables import ALL_TABLES, day_column, table_schema, target_of

# Not "explain": "explain analyze copy" runs the copy, and may write where reading is allowed.
_READS = {duckdb.StatementType.SELECT}

_ABOUT_THE_TEXT = (
    duckdb.ParserException,
    duckdb.SyntaxException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.PermissionException,
)
"""Errors that quote the statement and nothing that was read."""

_AS_FOLDER = ".parquet/**/*.parquet"
_UNREADABLE = "a store file cannot be read; if it was merged just now, try again"


def connect(settings: Settings, store: Store) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with a view of each table, that can read nothing else and write nothing.

    Event tables show every stored row, with ``batchSequence`` and without ``dataType``; user tables
    show the newest row of each key. Instants are timestamps without zone, in UTC.
    """
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    objects.for_duckdb(connection, settings.store)
    readable: list[UPath] = []
    for table in ALL_TABLES:
        columns = table_schema(table)
        files = store.files(table)
        readable += files
        if files:
            source = parquet(files)
        else:
            empty = (f"null::{_sql_type(f.type)} as {quoted(f.name)}" for f in columns)
            source = f"(select {', '.join(empty)} limit 0)"
        newest = "" if day_column(table) else _newest_of_key(target_of(table))
        # Without a zone an instant is printed as it is stored, by every reader and in every place.
        instants = ", ".join(
            f"{quoted(f.name)}::timestamp as {quoted(f.name)}"
            for f in columns
            if pa.types.is_timestamp(f.type)
        )
        shown = f"* replace ({instants})" if instants else "*"
        connection.execute(f"create view {table} as select {shown} from {source} {newest}")
    connection.execute(f"set temp_directory = {literal(str(settings.tmp / 'query'))}")
    connection.execute(f"set allowed_paths = [{', '.join(literal(str(path)) for path in readable)}]")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")
    return connection


def _newest_of_key(target: str) -> str:
    table = USER_TABLES[target.removeprefix("users/")]
    key = ", ".join(map(quoted, table.key))
    return (
        f"qualify row_number() over (partition by {key} "
        f"order by {quoted(table.newest_by)} desc, {quoted('batchSequence')} desc) = 1"
    )


def _sql_type(arrow: pa.DataType) -> str:
    if pa.types.is_timestamp(arrow):
        return "timestamptz"
    return {pa.int64(): "bigint", pa.float64(): "double", pa.date32(): "date"}.get(arrow, "varchar")


def query(settings: Settings, store: Store, sql: str) -> duckdb.DuckDBPyRelation:
    """The result of one ``select`` over the views; much of it is computed only by ``records`` or ``text``.

    Raises:
        InvalidRequest: naming ``sql``, if it is not one statement that only reads, or DuckDB refuses it.
    """
    with _told():
        connection = connect(settings, store)
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in _READS:
            raise InvalidRequest("sql must be one statement that only reads, such as a select", field="sql")
        return connection.sql(sql)


def records(result: duckdb.DuckDBPyRelation) -> list[dict[str, Any]]:
    """The rows of ``result`` as JSON has them: what it has no type for as text, no number as null.

    Raises:
        InvalidRequest: naming ``sql``, if it cannot be computed or two columns have the same name.
        TransientError: if a store file was removed meanwhile.
    """
    names = result.columns
    if repeated := [name for position, name in enumerate(names) if name in names[:position]]:
        raise InvalidRequest(
            f"sql has two columns called {repeated[0]}; give one another name by `as`", field="sql"
        )
    with _told():
        return [dict(zip(names, map(_plain, row), strict=True)) for row in result.fetchall()]


def text(result: duckdb.DuckDBPyRelation) -> str:
    """The first rows of ``result`` as a table for a person.

    Raises:
        InvalidRequest, TransientError: see ``records``.
    """
    with _told():
        return str(result).rstrip()


@contextmanager
def _told() -> Iterator[None]:
    try:
        with answering():
            yield
    except (duckdb.IOException, FileNotFoundError):
        raise TransientError(_UNREADABLE) from None
    except _ABOUT_THE_TEXT as error:
        # DuckDB takes an object that is not there for a folder, which it then may not look into.
        if isinstance(error, duckdb.PermissionException) and _AS_FOLDER in str(error):
            raise TransientError(_UNREADABLE) from None
        raise InvalidRequest(f"sql: {error}", field="sql") from None
    except (duckdb.Error, OSError) as error:
        if is_gone(error):
            raise TransientError(_UNREADABLE) from None
        if not isinstance(error, duckdb.Error):
            raise
        # What went wrong over a row may quote it, and rows hold user ids.
        kind = str(error).partition(":")[0]
        raise InvalidRequest(
            f"sql: {kind} while it ran; it must be something that every row it reads has a value for",
            field="sql",
        ) from None


def _plain(value: object) -> object:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case bytes():
            return value.decode("utf-8", "backslashreplace")
    return str(value)
