"""The README's own lines about a daily feed, run as printed; only the addresses are those of the test."""

import socket
import subprocess
import sys
import time
from pathlib import Path

from export_pipeline.days import utc_now
from export_pipeline.delivery.outbox import Courier
from export_pipeline_tests.api.conftest import ROWS, Serving

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60


def test_the_readme_s_lines_make_a_feed_that_arrives_verified(serving: Serving, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    origin = f"http://localhost:{port}"
    api = serving(tmp_path / "home", webhook_allow=origin, close_delay_minutes="0")
    section = (ROOT / "README.md").read_text().split("## A feed every day\n")[1]
    lines = section.split("```sh\n")[1].split("```")[0]
    for printed, here in (
        ("http://localhost:9000", origin),
        ("http://localhost:8000", api.url),
        (" 9000", f" {port}"),
        (" python3", " exec python3"),
    ):
        assert printed in lines
        lines = lines.replace(printed, here)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    with subprocess.Popen(
        ["bash", "-euc", lines],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "EXPORT_PIPELINE_HOME": str(api.settings.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as receiving:
        try:
            deadline = time.monotonic() + SECONDS
            while not (api.ledger.jobs.open(utc_now()) and _listens(port)):
                assert receiving.poll() is None, receiving.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            (job,) = api.ledger.jobs.open(utc_now())
            api.work(job.id)
            settings = api.settings.model_copy(update={"public_url": api.url})
            assert Courier(settings, api.ledger).deliver_due() == 1
            assert receiving.stdout is not None
            said = receiving.stdout.readline()
        finally:
            receiving.kill()
    assert said.endswith(f"{job.id}/events/part-00000.jsonl.gz: {ROWS} rows, verified\n")
    assert job.id.startswith(f"exp_daily_{utc_now():%Y%m%d}_sch_")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
