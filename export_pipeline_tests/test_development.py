"""What ``make dev`` starts ends together, however it is ended."""

import signal
import subprocess
import sys
import time
from pathlib import Path

_RUN = "import sys; from export_pipeline.development import run; sys.exit(run({commands!r}))"
_WAITS = "import pathlib, time; pathlib.Path({file!r}).touch(); time.sleep(60)"


def started(*commands: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _RUN.format(commands=list(commands))])


def waits(file: Path) -> list[str]:
    return [sys.executable, "-c", _WAITS.format(file=str(file))]


def alive(file: Path) -> bool:
    return any(
        str(file).encode() in path.read_bytes()
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"development" not in path.read_bytes()
    )


def until(there: Path) -> None:
    for _ in range(200):
        if there.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{there.name} did not start")


def test_when_one_ends_the_other_is_ended_and_its_code_is_given(tmp_path: Path) -> None:
    process = started(waits(tmp_path / "a"), [sys.executable, "-c", "import time; time.sleep(0.5); exit(3)"])
    assert process.wait(30) == 3
    assert not alive(tmp_path / "a")


def test_a_signal_ends_both(tmp_path: Path) -> None:
    process = started(waits(tmp_path / "a"), waits(tmp_path / "b"))
    until(tmp_path / "a")
    until(tmp_path / "b")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert not alive(tmp_path / "a")
    assert not alive(tmp_path / "b")
