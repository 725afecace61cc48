"""The API as a process of its own, over the state root of an input."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from benchmarks.inputs import deployment
from benchmarks.measuring import ROOT
from export_pipeline.days import utc_now
from export_pipeline.ledger import Ledger
from export_pipeline.settings import load, variable

_PATIENCE_SECONDS = 60
_UNLIMITED = "1000000"


@dataclass(frozen=True)
class Server:
    """Where it answers, a key with the scopes of exports, and its process."""

    url: str
    key: str
    pid: int

    def call(self, method: str, path: str, **more: Any) -> Any:
        """The ``data`` of an answer, which must be a good one."""
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = requests.request(method, self.url + path, headers=headers, timeout=_PATIENCE_SECONDS, **more)
        answer.raise_for_status()
        return answer.json()["data"]

    def memory(self) -> int:
        """Bytes of memory that its process holds."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) * 1024


@contextmanager
def serving(home: Path, variables: Mapping[str, str] | None = None) -> Iterator[Server]:
    """The server, without limits on how much is asked of it; it has ended when the block has.

    Args:
        variables: settings that take the place of those of an input.
    """
    settings = load(variables) if variables else deployment(home)
    key = Ledger(settings).keys.create(["exports:read", "exports:write"], utc_now())[1]
    given = {
        variable("home"): str(home),
        variable("first_day"): "2020-01-01",
        **(variables or {}),
        variable("rate_limit"): _UNLIMITED,
        variable("jobs_per_day"): _UNLIMITED,
    }
    command = ["env", *(f"{name}={value}" for name, value in given.items()), sys.executable]
    with open(home / "serve.log", "wb") as log:
        process = subprocess.Popen(
            [*command, "-m", "export_pipeline", "serve", "--port", "0"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        assert said, f"the server did not start; see {home / 'serve.log'}"
        yield Server(said.split()[1].partition("/portal")[0], key, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
