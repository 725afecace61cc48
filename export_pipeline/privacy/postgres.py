"""Searching the PostgreSQL database of a deployment: every value of every table, and what the server has
noted of values as statistics, in one look. Pages of its files are not searched; they are the server's.
"""

from collections.abc import Callable, Mapping

import pyarrow as pa
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from export_pipeline import databases
from export_pipeline.databases import postgres
from export_pipeline.privacy.containers import packed
from export_pipeline.privacy.searching import Search, Unsearchable
from export_pipeline.settings import Settings

DAGSTER = "dagster"

_ROWS = 500
_SYSTEM = ("information_schema", "pg_catalog", "pg_toast")
_PLAIN = (
    *("bool", "int2", "int4", "int8", "oid", "float4", "float8", "xid", "xid8", "pg_lsn"),
    *("date", "time", "timetz", "timestamp", "timestamptz", "interval"),
)
"""Types of values that hold no text."""

_COLUMNS = """
select n.nspname, c.relname, a.attname, t.typname
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
join pg_type t on t.oid = a.atttypid
where n.nspname = %s and c.relkind in ('r', 'm', 'f') and a.attnum > 0 and not a.attisdropped
order by c.relname, a.attnum
"""
_STATISTICS = """
select most_common_vals::text, histogram_bounds::text, most_common_elems::text
from pg_stats where schemaname = %s
"""
_SCHEMAS = "select distinct schemaname from pg_tables where tablename = 'event_logs' or schemaname = %s"


def search_databases(settings: Settings, new: Callable[[], Search]) -> Mapping[str, Search]:
    """Search the tables of the ledger, the catalog and Dagster; what was found, by the name of each.

    Args:
        new: makes what a search is handed to.

    Raises:
        Unsearchable: if the server refuses to show something.
        OperationalError: if it cannot be reached or is busy.
    """
    # Rows that a policy hides make it fail instead of being left out.
    engine = create_engine(
        postgres.url(settings, row_security="off"), poolclass=NullPool, hide_parameters=True
    )
    try:
        with engine.connect().execution_options(**postgres.LOOK) as connection, connection.begin():
            found = {}
            for name, schemas in _schemas(connection).items():
                found[name] = new()
                for schema in schemas:
                    _search_schema(connection, schema, found[name])
            return found
    except OperationalError:
        raise
    except DBAPIError as error:
        raise Unsearchable(f"the database cannot be searched ({type(error.orig).__name__})") from None


def _schemas(connection: Connection) -> dict[str, list[str]]:
    """The schemas of each: Dagster's are those with its event log, and the one that it makes tables in."""
    ours = dict(databases.SCHEMAS)
    default = connection.exec_driver_sql("select current_schema()").scalar()
    others = connection.exec_driver_sql(_SCHEMAS, (default,)).scalars()
    dagster = sorted({*others} - {*ours.values(), *_SYSTEM})
    return {**{name: [schema] for name, schema in ours.items()}, DAGSTER: dagster}


def _search_schema(connection: Connection, schema: str, search: Search) -> None:
    columns: dict[str, list[str]] = {}
    for _, table, column, kind in connection.exec_driver_sql(_COLUMNS, (schema,)).all():
        search.name(f"{table}.{column}")
        if kind.lstrip("_") not in _PLAIN:
            cast = "" if kind == "bytea" else "::text"
            columns.setdefault(table, []).append(_quoted(connection, column) + cast)
    for table, wanted in columns.items():
        name = f"{_quoted(connection, schema)}.{_quoted(connection, table)}"
        _search_rows(connection, f"select {', '.join(wanted)} from {name}", (), search)
    _search_rows(connection, _STATISTICS, (schema,), search)


def _search_rows(connection: Connection, query: str, of: tuple[str, ...], search: Search) -> None:
    streaming = {"stream_results": True, "max_row_buffer": _ROWS}
    rows = connection.exec_driver_sql(query, of or None, execution_options=streaming)
    for some in rows.partitions(_ROWS):
        values = [_bytes(value) for row in some for value in row if value is not None]
        unpacked = [text for value in values if (text := packed(value)) is not None]
        search.values(pa.array(values + unpacked, pa.large_binary()))


def _bytes(value: str | memoryview) -> bytes:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)
