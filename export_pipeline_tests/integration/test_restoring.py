"""A backup of bucket and database is restored by the lines of deploy/README.md, which then erase again."""

import json
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from export_pipeline import objects
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.api.conftest import land_yesterday
from export_pipeline_tests.cli.test_erasing import OTHER, USER

pytestmark = pytest.mark.soak
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def backend() -> str:
    return "s3+postgres"


class Operator:
    """Who types commands in a folder with a virtual environment."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder, self._environment = folder, {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
        (folder / ".venv").symlink_to(sys.prefix)

    def types(self, lines: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", lines],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self, user: str) -> int:
        sql = f"select count(*) as n from engagement_events where userId = '{user}'"
        return int(json.loads(self.types(f'.venv/bin/export-pipeline query --json "{sql}"'))[0]["n"])


def test_who_was_erased_after_the_backup_is_erased_again(
    settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    page = (ROOT / "deploy" / "README.md").read_text().split("## Backup\n")[1]
    back_up, restore, reapply = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    day = date.fromisoformat(land_yesterday(Store(settings), Ledger(settings)))
    operator = Operator(tmp_path, environment)
    operator.types(".venv/bin/export-pipeline users erase somebody-else")  # which makes the keys
    operator.types(back_up)
    operator.types(f".venv/bin/export-pipeline users erase {USER}")
    objects.write(settings.exports / "daily" / f"{day}" / "since", b"not in the backup")
    assert operator.rows(USER) == 0
    operator.types(restore)
    assert not (settings.exports / "daily" / f"{day}" / "since").exists()
    assert (operator.rows(USER), operator.rows(OTHER)) == (8, 8)
    operator.types(reapply)
    assert (operator.rows(USER), operator.rows(OTHER)) == (0, 8)
