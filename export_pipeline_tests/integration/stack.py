"""The running product: a Dagster web server and daemon as two processes, over the tree's own yaml files."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import dagster as dg
import requests

from export_pipeline.dagster_home import prepare
from export_pipeline.settings import load, variable

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 120
ENDING_SECONDS = 20

T = TypeVar("T")

_READY = """
{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError {
    __typename ... on PythonError { message } } } } }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }
"""


def eventually(what: str, look: Callable[[], T | None], seconds: float = 120) -> T:
    """The first result of ``look`` that is true, tried until ``seconds`` have passed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.5)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} s")


class Stack:
    """A running web server and daemon; ``graphql`` asks the web server what the UI asks it."""

    def __init__(self, home: Path, url: str) -> None:
        self.home = home
        self.url = url

    def graphql(self, query: str, **variables: Any) -> Any:
        """The ``data`` of a GraphQL answer."""
        answer = requests.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60
        )
        document = answer.json()
        assert "errors" not in document, document
        return document["data"]


@contextmanager
def running(home: Path, environ: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """A stack on the state root ``home``; both processes have ended when the block has.

    Args:
        environ: settings, as environment variables, beside the state root.
    """
    given = {variable("home"): str(home), **(environ or {})}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(variable(""))}
    dagster_home = prepare(load(given))
    environment = {**inherited, **given, "DAGSTER_HOME": str(dagster_home)}
    _make_instance(environment)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    programs = Path(sys.executable).parent
    commands: dict[str, list[str | Path]] = {
        "webserver": [
            programs / "dagster-webserver",
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-w",
            "workspace.yaml",
        ],
        "daemon": [programs / "dagster-daemon", "run", "-w", "workspace.yaml"],
    }
    logs = log_folder(home)
    logs.mkdir(parents=True, exist_ok=True)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for name, command in commands.items():
            with open(logs / f"{name}.log", "wb") as log:
                processes.append(
                    subprocess.Popen(
                        command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
                    )
                )
        stack = Stack(home, f"http://127.0.0.1:{port}")
        eventually("web server and daemon are healthy", lambda: _healthy(stack, processes), READY_SECONDS)
        yield stack
    finally:
        for process in processes:
            _end(process)


@contextmanager
def serving(home: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """The portal and the API of a stack, as a process; the address that ``serve`` says to open."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(variable(""))}
    command = [sys.executable, "-m", "export_pipeline", "serve", "--port", "0"]
    environment = {**inherited, **environ, variable("home"): str(home)}
    with (
        open(log_folder(home) / "serve.log", "wb") as log,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout
        try:
            yield process.stdout.readline().removeprefix("Open ").strip()
        finally:
            _end(process)


def log_folder(home: Path) -> Path:
    """Where the processes of a stack on ``home`` log: beside it, as what is in it belongs to the product."""
    return home.with_name(f"{home.name}-logs")


def _make_instance(environment: Mapping[str, str]) -> None:
    # Two processes that both find no database get in each other's way while they make it.
    with mock.patch.dict(os.environ, environment), dg.DagsterInstance.get():
        pass


def _healthy(stack: Stack, processes: list[subprocess.Popen[bytes]]) -> bool:
    assert all(process.poll() is None for process in processes), "a process ended; see its log"
    try:
        state = stack.graphql(_READY)
    except requests.RequestException:
        return False
    entries = state["workspaceOrError"]["locationEntries"]
    loaded = [entry["locationOrLoadError"] or {} for entry in entries]
    for location in loaded:
        assert location.get("__typename") != "PythonError", location["message"]
    daemons = state["instance"]["daemonHealth"]["allDaemonStatuses"]
    return bool(loaded) and all(loaded) and all(d["healthy"] for d in daemons if d["required"])


def _end(process: subprocess.Popen[Any]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        # Its session is its own, so this reaches what it started and nothing else.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def land(home: Path, source: Path) -> None:
    """Put every file below ``source``, a tree of landing folders, into the landing directory, each whole."""
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        target = home / "landing" / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{target.name}.tmp")
        shutil.copyfile(file, temporary)
        temporary.replace(target)
