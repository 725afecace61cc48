"""The README's own lines over HTTP, run as printed; only the address is that of the test's server."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from export_pipeline.days import utc_now
from export_pipeline.exports.service import lock_name
from export_pipeline.locks import is_held
from export_pipeline.privacy.access import Access
from export_pipeline.privacy.erasing import STEPS, take_step
from export_pipeline.privacy.passes import LOCK
from export_pipeline_tests.api.conftest import Api, Serving
from export_pipeline_tests.privacy.walker import find

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "http://localhost:8000"


def run_lines(
    api: Api, folder: Path, treat: Callable[[str], object], heading: str = "Over HTTP"
) -> subprocess.CompletedProcess[str]:
    """Run the lines under ``heading`` in ``folder`` while jobs are treated by ``treat`` and people erased."""
    section = (ROOT / "README.md").read_text().split(f"## {heading}\n")[1]
    blocks = re.findall(r"```sh\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    assert ADDRESS in blocks[0]
    (folder / ".venv").symlink_to(sys.prefix)
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.2):
            for job in api.ledger.jobs.open(utc_now()):
                if not is_held(api.settings, lock_name(job.id)):
                    treat(job.id)
            for request in api.ledger.erasures.open():
                if not is_held(api.settings, LOCK):
                    for name in STEPS:
                        take_step(api.settings, api.store, api.ledger, request.id, name, utc_now())

    worker = threading.Thread(target=work)
    worker.start()
    try:
        return subprocess.run(
            ["bash", "-euc", "\n".join(blocks).replace(ADDRESS, api.url)],
            cwd=folder,
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": str(ROOT),
                "EXPORT_PIPELINE_HOME": str(api.settings.root),
            },
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
    assert "1 export verified" in ran.stdout


def test_the_readme_s_lines_about_one_person_end_in_verified_archives_and_certificates(
    serving: Serving, tmp_path: Path
) -> None:
    api = serving(tmp_path / "home")

    def treat(job_id: str) -> None:
        access = Access(api.settings, api.store, api.ledger)
        access.collect(job_id)
        access.publish(job_id)

    ran = run_lines(api, tmp_path, treat, "One person")
    assert ran.returncode == 0, ran.stderr
    assert "1 export verified" in ran.stdout
    assert ": 16 rows, 0 withheld" in ran.stdout
    assert len(list((tmp_path / "person").glob("usr_exp_*.zip"))) == 1
    assert "16 rows would be removed" in ran.stdout
    assert "is complete, due by" in ran.stdout
    assert find(api.settings.root, ["user_00000001", "user_00000002"]) == []


def test_the_readme_s_lines_end_with_the_reason_if_there_is_no_export(api: Api, tmp_path: Path) -> None:
    def fail(job_id: str) -> None:
        api.ledger.jobs.fail(job_id, "SERVICE_UNAVAILABLE", "no room was left", utc_now())

    ran = run_lines(api, tmp_path, fail)
    assert ran.returncode == 1
    assert "there is no export" in ran.stderr
    assert "no room was left" in ran.stderr


def test_the_readme_s_lines_keep_a_consumer_complete(api: Api, tmp_path: Path) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    ran = run_lines(api, tmp_path, api.work, "Staying complete")
    assert ran.returncode == 0, ran.stderr
    new, held = ran.stdout.split()
    assert new == held
    assert int(held) > 0
