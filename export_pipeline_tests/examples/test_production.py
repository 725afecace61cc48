"""The README's lines for S3, PostgreSQL and Dask on one machine, run as printed, twice, with real servers.

Left out is what installs packages or waits for a person; the database is one of the test's own server.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from export_pipeline_tests.system import missing

pytestmark = pytest.mark.soak
ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = re.compile(r"^(?:sudo .*|make dev|\.venv/bin/pip .*?(?: && |$))", re.MULTILINE)
PORTS = (8333, 8786, 8888, 9333)
EXPORTED = """
.venv/bin/python - <<'END'
from datetime import timedelta
from export_pipeline.days import utc_now
from export_pipeline.exports import export_day
from export_pipeline.ledger import Ledger
from export_pipeline.settings import load
from export_pipeline.store import Store
settings, now = load(), utc_now()
assert settings.scheduler
given = {"settings": settings, "store": Store(settings), "ledger": Ledger(settings), "now": now}
made = export_day("events", "csv", now.date() - timedelta(days=1), **given)
print(made.rows, "rows by workers")
END
"""


@pytest.fixture
def lines() -> str:
    section = (ROOT / "README.md").read_text().split("**S3, PostgreSQL, Dask.**")[1].split("\n## ")[0]
    first, cluster = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    (ending,) = re.findall(r"`(kill [^`]*)`", section)
    return LEFT_OUT.sub("", first) + LEFT_OUT.sub("", cluster) + EXPORTED + ending + "\n"


@pytest.fixture(autouse=True)
def _free_ports() -> None:
    for port in PORTS:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                missing(f"port {port} of this machine, which the README's lines take, is in use")


def test_the_lines_lead_to_exports_by_workers_and_can_be_typed_again(
    lines: str, database: str, tmp_path: Path
) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    lines, replaced = re.subn(r"(?<=EXPORT_PIPELINE_DATABASE=)\S+", f"'{database}'", lines)
    assert replaced == 1
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("EXPORT_PIPELINE_")
    }
    for attempt in range(2):
        with open(tmp_path / f"typed-{attempt}", "w+b") as said:
            shell = subprocess.Popen(
                ["bash", "-euc", f"mkdir -p try/objects; rm -rf try/two-days\n{lines}"],
                cwd=tmp_path,
                env={**environment, "PYTHONPATH": str(ROOT)},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            try:
                code = shell.wait(400)
            finally:
                if shell.poll() is None:
                    os.killpg(shell.pid, signal.SIGKILL)
            said.seek(0)
            text = said.read().decode()
        assert code == 0, text
        assert re.search(r"^[1-9]\d* rows by workers$", text, re.MULTILINE), text
