"""The README's own lines over HTTP, run as printed; only the address is that of the test's server."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from export_pipeline.days import utc_now
from export_pipeline_tests.api.conftest import Api

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "http://localhost:8000"


def run_lines(api: Api, folder: Path, treat: Callable[[str], object]) -> subprocess.CompletedProcess[str]:
    """Run the README's lines over HTTP in ``folder`` while ``treat`` is called for each open job's id."""
    section = (ROOT / "README.md").read_text().split("## Over HTTP")[1]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found is not None
    assert ADDRESS in found[1]
    (folder / ".venv").symlink_to(sys.prefix)
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.2):
            for job in api.ledger.jobs.open(utc_now()):
                treat(job.id)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        return subprocess.run(
            ["bash", "-euc", found[1].replace(ADDRESS, api.url)],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "EXPORT_PIPELINE_HOME": str(api.settings.root)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        done.set()
        worker.join()


def test_the_readme_s_lines_end_in_a_verified_file(api: Api, tmp_path: Path) -> None:
    ran = run_lines(api, tmp_path, api.work)
    assert ran.returncode == 0, ran.stderr
    assert "1 exports verified" in ran.stdout


def test_the_readme_s_lines_end_with_the_reason_if_there_is_no_export(api: Api, tmp_path: Path) -> None:
    def fail(job_id: str) -> None:
        api.ledger.jobs.fail(job_id, "SERVICE_UNAVAILABLE", "no room was left", utc_now())

    ran = run_lines(api, tmp_path, fail)
    assert ran.returncode == 1
    assert "there is no export" in ran.stderr
    assert "no room was left" in ran.stderr
