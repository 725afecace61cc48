"""A downloaded file of the sample's own hard texts, and a PostgreSQL server."""

import gzip
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from export_pipeline.days import midnight, parse_day
from export_pipeline_tests.api.conftest import Api, api, serving
from export_pipeline_tests.exports.conftest import land_rows
from export_pipeline_tests.rows import row
from export_pipeline_tests.system import program

__all__ = ["api", "serving"]

BIG = 10**29 + 1
HARD = ['a\\b"c', "tab\tand\nline", "ü😀漢", "\u2028", "=1+1", ",;'"]


@pytest.fixture(scope="session")
def downloaded(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one file of an export, fetched from its downloadUrl."""
    noon = midnight(parse_day(api.yesterday, "day"))
    rows = [
        row(
            1000 + n,
            event="completion",
            data=json.dumps({"watchTime": n / 4, "sequence": BIG, "note": HARD[n % len(HARD)]}),
            timestamp=noon,
            receivedAt=noon,
        )
        for n in range(200)
    ]
    land_rows(api.store, api.ledger, rows, "events")
    answer = requests.get(api.complete()["downloadUrl"], timeout=60)
    path = tmp_path_factory.mktemp("downloaded") / "export.jsonl.gz"
    path.write_bytes(answer.content)
    return path


@pytest.fixture(scope="session")
def rows(downloaded: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(downloaded.read_bytes()).splitlines()]


@pytest.fixture(scope="session")
def watched(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds watched by video, counted by hand."""
    seconds: dict[str, float] = {}
    for line in rows:
        if line["event"] == "completion":
            seconds[line["contentId"]] = seconds.get(line["contentId"], 0) + line["data"]["watchTime"]
    assert sum(seconds.values()) > 0
    return seconds


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The connection string of a server of its own, run by a user that is not root, as it insists on."""
    program("psql")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    binaries = (found[-1] if found else Path(program("initdb"))).parent
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    folder.chmod(0o755)
    as_user: dict[str, Any] = {}
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        shutil.chown(folder, nobody.pw_uid, nobody.pw_gid)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"} | as_user
    options = ["--no-sync", "--no-locale", "-E", "UTF8", "--auth=trust", "-U", "test", "-D", folder / "data"]
    subprocess.run([binaries / "initdb", *options], check=True, **quiet)
    settings = ["-c", "listen_addresses=", "-c", "fsync=off"]
    server = subprocess.Popen(
        [binaries / "postgres", "-D", folder / "data", "-k", folder, *settings], **quiet
    )
    connection = f"host={folder} user=test dbname=postgres"
    for _ in range(200):
        if not subprocess.run(["psql", connection, "-c", "select 1"], capture_output=True).returncode:
            break
        time.sleep(0.05)
    yield connection
    server.terminate()
    server.wait(30)
    shutil.rmtree(folder)
