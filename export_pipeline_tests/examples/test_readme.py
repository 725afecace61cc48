"""The README's own lines over HTTP, run as printed; only the address is that of the test's server."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from export_pipeline.days import utc_now
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.service import lock_name
from export_pipeline.locks import is_held
from export_pipeline.privacy.access import Access
from export_pipeline.store.views import query
from export_pipeline_tests.api.conftest import Api

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "http://localhost:8000"


def run_lines(
    api: Api, folder: Path, treat: Callable[[str], object], heading: str = "Over HTTP"
) -> subprocess.CompletedProcess[str]:
    """Run the lines under ``heading`` in ``folder`` while ``treat`` is called for each open job's id."""
    section = (ROOT / "README.md").read_text().split(f"## {heading}\n")[1]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found is not None
    assert ADDRESS in found[1]
    (folder / ".venv").symlink_to(sys.prefix)
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.2):
            for job in api.ledger.jobs.open(utc_now()):
                if not is_held(api.settings, lock_name(job.id)):
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


def test_the_readme_s_lines_about_one_person_end_in_verified_archives(api: Api, tmp_path: Path) -> None:
    def treat(job_id: str) -> None:
        access = Access(api.settings, api.store, api.ledger)
        access.collect(job_id)
        access.publish(job_id)

    counts = " union all ".join(
        f"select count(*) from {kind.table} where userId = 'user_00000001'" for kind in DATA_TYPES.values()
    )
    held = sum(count for (count,) in query(api.settings, api.store, counts).fetchall())
    ran = run_lines(api, tmp_path, treat, "One person")
    assert ran.returncode == 0, ran.stderr
    assert "1 exports verified" in ran.stdout
    assert held > 0
    assert f": {held} rows, 0 withheld" in ran.stdout
    assert len(list((tmp_path / "person").glob("usr_exp_*.zip"))) == 1


def test_the_readme_s_lines_end_with_the_reason_if_there_is_no_export(api: Api, tmp_path: Path) -> None:
    def fail(job_id: str) -> None:
        api.ledger.jobs.fail(job_id, "SERVICE_UNAVAILABLE", "no room was left", utc_now())

    ran = run_lines(api, tmp_path, fail)
    assert ran.returncode == 1
    assert "there is no export" in ran.stderr
    assert "no room was left" in ran.stderr
