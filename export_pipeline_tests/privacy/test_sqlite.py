"""Searching a database that is in use leaves it to those who use it."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from export_pipeline.privacy.matching import Needles
from export_pipeline.privacy.searching import Erased, Search
from export_pipeline.privacy.sqlite import search_database

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def counted_by_another_process(path: Path) -> int:
    count = "sqlite3.connect(sys.argv[1]).execute('select count(*) from t').fetchone()"
    program = f"import sqlite3, sys; print(*{count})"
    command = [sys.executable, "-c", program, str(path)]
    return int(subprocess.run(command, check=True, capture_output=True).stdout)


def test_a_connection_of_this_process_keeps_its_locks_while_others_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table t (text)")
        connection.execute("insert into t values ('one')")
        search_database(path, Search(Erased(Needles(["user_00000001"]), NOW, 1)))
        connection.execute("insert into t values ('two')")
        # Were its locks gone, this one would take itself for the last and remove the log under it.
        assert counted_by_another_process(path) == 2
        connection.execute("insert into t values ('three')")
        assert counted_by_another_process(path) == 3
        assert path.with_name("ledger.db-wal").exists()


def opened_here() -> Iterator[tuple[int, int]]:
    """Device and inode of every file this process holds open."""
    for descriptor in Path("/dev/fd").iterdir():
        with suppress(OSError):  # one that another thread, or the listing itself, has closed meanwhile
            status = os.fstat(int(descriptor.name))
            yield status.st_dev, status.st_ino


def test_databases_nobody_here_uses_are_not_held_open(tmp_path: Path) -> None:
    erased = Erased(Needles(["user_00000001"]), NOW, 1)
    paths = [tmp_path / f"{number}.db" for number in range(20)]
    for path in paths:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("create table t (text)")
        search_database(path, Search(erased))
    assert not {(path.stat().st_dev, path.stat().st_ino) for path in paths} & {*opened_here()}
