"""How large the benchmarks are, and where their inputs and outputs lie."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

_OUTPUTS = "outputs-"


@dataclass(frozen=True)
class Plan:
    """The sizes of a run. ``rows`` is a day's; ``scale`` is what it is multiplied by for the largest day."""

    workdir: Path
    rows: int = 5_000_000
    small_rows: int = 1_000_000
    scale: int = 4
    rounds: int = 3
    person_days: int = 90
    backfill_days: int = 30
    rows_a_day: int = 100_000
    poll_seconds: int = 20
    download_bytes: int = 1_000_000_000
    messages: int = 10_000

    @property
    def inputs(self) -> Path:
        """Deployments kept between runs."""
        return self.workdir / "inputs"

    @property
    def outputs(self) -> Path:
        """What is written and removed again; each run has its own."""
        return self.workdir / f"{_OUTPUTS}{os.getpid()}"

    def sweep(self) -> None:
        """Remove the outputs of runs that were killed."""
        for path in self.workdir.glob(f"{_OUTPUTS}*"):
            if not _lives(int(path.name.removeprefix(_OUTPUTS))):
                shutil.rmtree(path)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def quick(workdir: Path) -> Plan:
    """Sizes that prove that everything runs; the figures mean nothing."""
    return Plan(
        workdir,
        rows=20_000,
        small_rows=5_000,
        scale=2,
        rounds=1,
        person_days=5,
        backfill_days=3,
        rows_a_day=1_000,
        poll_seconds=2,
        messages=500,
    )
