"""``make dev``: the portal with the API, and the Dagster UI with its daemon; they start and end together.

``serve`` prints the one address to open; the portal links to the Dagster UI, which is up half a minute later.
``python -m export_pipeline.development`` takes the API's arguments, such as ``--port 8001``.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

DAGSTER_URL = "http://127.0.0.1:3000"
ENDING_SECONDS = 30
_LOOK_SECONDS = 0.2


def commands(arguments: Sequence[str]) -> list[list[str]]:
    """What is started, each as the words of a command."""
    programs = Path(sys.executable).parent
    # Quiet about every look of a sensor, as what fails would drown in it, and about `dg dev`.
    quiet = ["-W", "ignore:Function `dev_command`"]
    dagster = [sys.executable, *quiet, str(programs / "dagster"), "dev", "--log-level", "warning"]
    dagster += ["-w", "workspace.yaml"]
    return [
        [sys.executable, "-m", "export_pipeline.dagster_home", "--", *dagster],
        [sys.executable, "-m", "export_pipeline", "serve", *arguments],
    ]


def run(given: Sequence[Sequence[str]]) -> int:
    """Run commands until one of them ends or this process is told to; the exit code of the one that ended."""
    told: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: told.append(received))
    # In sessions of their own, so that an interrupt at the terminal reaches them once, from here.
    environment = {"EXPORT_PIPELINE_DAGSTER_URL": DAGSTER_URL, **os.environ}
    processes = [subprocess.Popen(words, start_new_session=True, env=environment) for words in given]
    try:
        while not told and all(process.poll() is None for process in processes):
            time.sleep(_LOOK_SECONDS)
        return next((p.returncode for p in processes if p.returncode is not None), 0)
    finally:
        for process in processes:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        # The signal on which Dagster ends what it has started itself.
        process.send_signal(signal.SIGINT)
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(run(commands(sys.argv[1:])))
