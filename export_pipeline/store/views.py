"""Read-only SQL over the store: one DuckDB view a table (contract, section 9, ``query``)."""

import duckdb
import pyarrow as pa

from export_pipeline.errors import InvalidRequest
from export_pipeline.events.catalogue import DATA_TYPES, USER_TABLES
from export_pipeline.settings import Settings
from export_pipeline.sql import literal, parquet, quoted
from export_pipeline.store.store import Store
from export_pipeline.store.tables import TABLE_OF, arrow_schema

_READS = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}


def connect(settings: Settings, store: Store) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with a view of each table, that can read nothing else and write nothing.

    Event tables show every stored row, with ``batchSequence`` and without ``dataType``; user tables
    show the newest row of each key. Instants are timestamps without zone, in UTC.
    """
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    readable: list[str] = []
    for target, table in TABLE_OF.items():
        files = store.files(table)
        readable += files
        if files:
            source = parquet(files)
        else:
            columns = (f"null::{_sql_type(f.type)} as {quoted(f.name)}" for f in arrow_schema(target))
            source = f"(select {', '.join(columns)} limit 0)"
        newest = "" if target in DATA_TYPES else _newest_of_key(target)
        # Without a zone an instant is printed as it is stored, by every reader and in every place.
        instants = ", ".join(
            f"{quoted(f.name)}::timestamp as {quoted(f.name)}"
            for f in arrow_schema(target)
            if pa.types.is_timestamp(f.type)
        )
        connection.execute(f"create view {table} as select * replace ({instants}) from {source} {newest}")
    connection.execute(f"set temp_directory = {literal(str(settings.tmp / 'query'))}")
    connection.execute(f"set allowed_paths = [{', '.join(map(literal, readable))}]")
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
    return {pa.int64(): "bigint", pa.float64(): "double"}.get(arrow, "varchar")


def query(settings: Settings, store: Store, sql: str) -> duckdb.DuckDBPyRelation:
    """The result of one ``select`` over the views.

    Raises:
        InvalidRequest: naming ``sql``, if it is not one statement that only reads, or DuckDB refuses it.
    """
    connection = connect(settings, store)
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in _READS:
            raise InvalidRequest("sql must be one statement that only reads, such as a select", field="sql")
        return connection.sql(sql)
    except duckdb.Error as error:
        raise InvalidRequest(f"sql: {error}", field="sql") from None
