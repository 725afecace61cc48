"""A full disk is told as one, whichever library meets it, and nothing else is."""

import errno
import subprocess
import sys
from pathlib import Path

import duckdb
import psycopg2
import pytest
from sqlalchemy.exc import OperationalError

from export_pipeline.errors import StorageFull
from export_pipeline.storage_full import is_full, needing_room
from export_pipeline.store.store import retrying
from export_pipeline_tests.small_disk import needs_small_disk, on_small_disk

_FULL_LEDGER = """
import sys
from contextlib import suppress
from export_pipeline.days import utc_now
from export_pipeline.failures import in_words
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings

settings = Settings(home=sys.argv[1])
if sys.argv[2] == "used":
    ledger = Ledger(settings)
with open(settings.root / "filling", "wb", buffering=0) as filling, suppress(OSError):
    while True:
        filling.write(bytes(512))
try:
    if sys.argv[2] == "opened":
        ledger = Ledger(settings)
    for _ in range(1000):
        ledger.keys.create(["exports:read"], utc_now())
except Exception as error:
    print(in_words(error))
"""

_FULL_SPILL = """
import sys
import duckdb
from export_pipeline.failures import in_words

config = {"memory_limit": "40MB", "threads": 1, "temp_directory": sys.argv[1]}
with duckdb.connect(config=config) as connection:
    try:
        connection.sql("select md5(i::text) a from range(3_000_000) t(i) order by a").fetchall()
    except duckdb.Error as error:
        print(in_words(error))
"""


def told(script: str, folder: Path, *arguments: str, size: str = "1m") -> str:
    command = [*on_small_disk(folder, size), sys.executable, "-c", script, str(folder), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@needs_small_disk
@pytest.mark.parametrize("when", ["opened", "used"])
def test_a_ledger_on_a_full_disk_says_so(tmp_path: Path, when: str) -> None:
    assert told(_FULL_LEDGER, tmp_path / "home", when).startswith(
        "SERVICE_UNAVAILABLE: no room is left to write"
    )


@needs_small_disk
def test_a_sort_that_cannot_spill_says_so(tmp_path: Path) -> None:
    assert told(_FULL_SPILL, tmp_path / "spill") == (
        "SERVICE_UNAVAILABLE: no room is left to write; free some and try again\n"
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_write_for_which_there_is_no_room_is_told_without_its_text(number: int) -> None:
    with pytest.raises(StorageFull) as said, needing_room("exports"):
        raise OSError(number, "user_00000001")
    assert said.value.message == "no room is left to write in exports; free some and try again"
    assert said.value.__cause__ is None


def test_a_row_that_speaks_of_a_full_disk_is_none() -> None:
    with pytest.raises(duckdb.ConversionException) as failed:
        duckdb.sql("select 'No space left on device'::integer").fetchall()
    assert "No space left" in str(failed.value)
    assert not is_full(failed.value)


def test_a_statement_that_speaks_of_a_full_disk_is_none() -> None:
    locked = Exception("database is locked")
    assert not is_full(OperationalError("select 'disk is full'", {}, locked))


def test_a_commit_without_room_is_not_told_as_a_lost_race() -> None:
    class DiskFull(psycopg2.OperationalError):
        pgcode = "53100"

    tries = []

    def commit() -> None:
        tries.append(1)
        raise OperationalError(None, None, DiskFull("could not extend file"))

    with pytest.raises(StorageFull, match="no room is left"):
        retrying(commit)
    assert len(tries) == 1
