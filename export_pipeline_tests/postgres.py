"""A real PostgreSQL server for tests, and a database of its own for each that wants one."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from export_pipeline.database_url import composed
from export_pipeline.ledger import Ledger
from export_pipeline.settings import load
from export_pipeline_tests import system

USER, PASSWORD = "exports", "p@ss/w:rd?#%1"
_TEMPLATE = "template_of_tests"
_READY_SECONDS = 30
_STATE = (
    "select (select array_agg(version_num) from export_pipeline.alembic_version)::text, array_agg(n)::text "
    "from (select table_schema || table_name || column_name n from information_schema.columns "
    "where table_schema not in ('pg_catalog', 'information_schema') order by 1) as columns"
)
"""Which tables there are."""
_EMPTY = f"""
set session_replication_role = replica;
do $$ declare it record; begin
  for it in select nspname from pg_namespace
    where nspname !~ '^(pg_|information_schema|public|export_pipeline$)' loop
    execute format('drop schema %I cascade', it.nspname);
  end loop;
  for it in select tablename from pg_tables
    where schemaname = 'export_pipeline' and tablename <> 'alembic_version' loop
    execute format('delete from export_pipeline.%I', it.tablename);
  end loop;
end $$;
{_STATE}
"""


class Server:
    """A running server; it can be stopped, or killed, and started again."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._retired: list[str] = []

    def url(self, database: str) -> str:
        """The address of a database, with the password."""
        return composed("127.0.0.1", self.port, database, USER, PASSWORD)

    @contextmanager
    def session(self, database: str, user: str = USER) -> Iterator[Any]:
        """A connection of its own."""
        secret = PASSWORD if user == USER else ""
        with closing(psycopg2.connect(composed("127.0.0.1", self.port, database, user, secret))) as opened:
            yield opened

    def run(self, statement: str, database: str = "postgres", user: str = USER) -> list[tuple[Any, ...]]:
        """Run a statement outside of any transaction; its rows."""
        with self.session(database, user) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [
            program("postgres"),
            *("-D", str(self._folder), "-p", str(self.port), "-k", str(self._folder)),
            *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200"),
        ]
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **_not_root())
        until = time.monotonic() + _READY_SECONDS
        while True:
            try:
                self.run("select 1")
                return
            except psycopg2.OperationalError:
                if self._process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT ends sessions, SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_READY_SECONDS)
            self._process = None

    def end_sessions(self, database: str, which: str = "true") -> int:
        """Cut the connections to a database; how many there were."""
        found = self.run(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
            f"and datname = '{database}' and ({which})"
        )
        return len(found)

    def new(self) -> str:
        """The address of a database with the ledger's tables and no rows."""
        while self._retired:
            name = self._retired.pop()
            if self._empty(name):
                return self.url(name)
            self.run(f"drop database if exists {name} with (force)")
        name = f"t{uuid.uuid4().hex}"
        self.run(f"create database {name} template {_TEMPLATE}")
        return self.url(name)

    def retire(self, url: str) -> None:
        """Take a database back that nobody needs any more."""
        self.end_sessions(name_of(url))
        self._retired.append(name_of(url))

    def _empty(self, database: str) -> bool:
        """Whether a database is as new again, which is faster than making one."""
        try:
            return self.run(_EMPTY, database) == self.run(_STATE, _TEMPLATE)
        except psycopg2.Error:
            return False


def name_of(url: str) -> str:
    """The name of the database at an address."""
    return url.rpartition("/")[2].partition("?")[0]


def program(name: str) -> str:
    """The path of one of PostgreSQL's programs; Debian keeps them apart, by version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: path.parts)
    return str(found[-1]) if found else system.program(name)


@contextmanager
def running() -> Iterator[Server]:
    """A server with a migrated template, gone when the block ends."""
    initdb = program("initdb")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    data = folder / "data"
    try:
        owner = _not_root()
        if owner:
            os.chown(folder, owner["user"], owner["group"])
        options = [
            "--no-sync",
            "--no-locale",
            "-E",
            "UTF8",
            "--auth=trust",
            "-U",
            "postgres",
            "-D",
            str(data),
        ]
        subprocess.run([initdb, *options], check=True, stdout=subprocess.DEVNULL, cwd=folder, **owner)
        rules = f"host all {USER} 127.0.0.1/32 scram-sha-256\nhost all postgres 127.0.0.1/32 trust\n"
        (data / "pg_hba.conf").write_text(rules)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        role = f"create role {USER} superuser login password '{PASSWORD}'\n"
        single = [program("postgres"), "--single", "-D", str(data), "postgres"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(single, input=role.encode(), check=True, cwd=folder, **quiet, **owner)
        server = Server(data, port)
        server.start()
        try:
            server.run(f"create database {_TEMPLATE}")
            home = folder / "home"
            url = server.url(_TEMPLATE)
            Ledger(
                load({"EXPORT_PIPELINE_HOME": str(home), "EXPORT_PIPELINE_DATABASE": url})
            )._engine.dispose()
            server.end_sessions(_TEMPLATE)
            time.sleep(0.1)
            yield server
        finally:
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _not_root() -> dict[str, Any]:
    """How a process is started that must not be root's."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("there is no user postgres, and PostgreSQL refuses to run as root")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
