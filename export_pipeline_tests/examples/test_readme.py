"""The README's own lines over HTTP, run as printed; only the address is that of the test's server."""

import re
import subprocess
import sys
import threading
from pathlib import Path

from export_pipeline.days import utc_now
from export_pipeline_tests.api.conftest import Api

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "http://localhost:8000"


def test_the_readme_s_lines_end_in_a_verified_file(api: Api, tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text().split("## Over HTTP")[1]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found is not None
    assert ADDRESS in found[1]
    (tmp_path / ".venv").symlink_to(sys.prefix)
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.2):
            for job in api.ledger.jobs.open(utc_now()):
                api.work(job.id)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        ran = subprocess.run(
            ["bash", "-euc", found[1].replace(ADDRESS, api.url)],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "EXPORT_PIPELINE_HOME": str(api.settings.root)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        done.set()
        worker.join()
    assert ran.returncode == 0, ran.stderr
    assert "1 exports verified" in ran.stdout
