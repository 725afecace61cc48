"""All that a deployment keeps, as files the walker reads: state root, objects, values of its database."""

import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg2

from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.privacy.scenario import Deployment
from export_pipeline_tests.privacy.walker import find, leaves

_TABLES = """
select quote_ident(schemaname) || '.' || quote_ident(tablename) from pg_tables
where schemaname not in ('pg_catalog', 'information_schema') order by 1
"""
_STATISTICS = """
select most_common_vals::text, histogram_bounds::text from pg_stats
where schemaname not in ('pg_catalog', 'information_schema')
"""


def held(settings: Settings, ids: Iterable[str], copies: Path) -> list[str]:
    """Where anything of ``ids`` is; what is not below the state root is copied below ``copies`` first."""
    folders = Deployment(settings, Store(settings), Ledger(settings)).everything(copies / "objects")
    if url := settings.database.get_secret_value():
        _dump(url, copies / "database")
        folders.append(copies / "database")
    wanted = list(ids)
    return [place for folder in folders for place in find(folder, wanted)]


def _dump(url: str, to: Path) -> None:
    """A file for each table, with all its values, one a line; and one with what is known of columns."""
    to.mkdir(parents=True)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(_TABLES)
        tables = [name for (name,) in cursor.fetchall()]
        for name, statement in [
            *((table, f"select * from {table}") for table in tables),
            ("statistics", _STATISTICS),
        ]:
            cursor.execute(statement)
            values = (value for row in cursor.fetchall() for value in row)
            (to / f"{name}.txt").write_bytes(b"\n".join(_texts(values)))


def _texts(values: Iterable[object]) -> Iterator[bytes]:
    for value in values:
        plain = bytes(value) if isinstance(value, memoryview) else value
        yield from (text for _, text in leaves("", plain))
        if isinstance(plain, bytes) and plain[:1] == b"\x78":
            try:
                yield zlib.decompress(plain)
            except zlib.error:
                continue
