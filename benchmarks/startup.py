"""Start-up: how long the command takes to say what it can do, and the code location to be loaded."""

import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.measuring import ROOT, Measured, alternate, measure, typical
from benchmarks.plan import Plan
from benchmarks.report import Section, at_most

_TIMES = 3
_HELP_WANTED = 0.3

_COMMANDS = {
    "export-pipeline --help": [str(Path(sys.executable).with_name("export-pipeline")), "--help"],
    "code location": [sys.executable, "-c", "import export_pipeline.definitions as d; d.build_defs()"],
    "of which Dagster's import": [sys.executable, "-c", "import dagster"],
    "of which Python": [sys.executable, "-c", "pass"],
}


def run(plan: Plan) -> list[Section]:
    """Wall time of whole processes."""
    calls = {name: partial(measure, start, name=name) for name in _COMMANDS}
    found: dict[str, Measured] = {
        name: typical(each) for name, each in alternate(calls, plan.rounds * _TIMES).items()
    }
    rows = [[name, f"{measured.wall:.2f}"] for name, measured in found.items()]
    help_time = found["export-pipeline --help"].wall
    targets = [at_most("export-pipeline --help", _HELP_WANTED, help_time, "s")]
    return [Section("Start-up", ["What", "seconds"], rows, targets=targets)]


def start(name: str) -> None:
    """Run one of the commands to its end."""
    subprocess.run(_COMMANDS[name], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
