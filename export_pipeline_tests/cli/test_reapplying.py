"""A restore brings erased people back; the certificates of their erasures take them out again."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.api.conftest import land_yesterday
from export_pipeline_tests.cli.conftest import Run
from export_pipeline_tests.cli.test_erasing import OTHER, USER, rows

Restore = Callable[[], None]


@pytest.fixture
def restore(settings: Settings, run: Run, tmp_path: Path) -> Restore:
    """A person was erased after a backup; the function restores it, but for certificates and keys."""
    land_yesterday(Store(settings), Ledger(settings))
    backup = tmp_path / "backup"
    # A key that was never used is made before, so that what is restored fits it.
    assert run("users", "erase", "somebody-else").code == 0
    shutil.copytree(settings.root, backup, symlinks=True)
    assert run("users", "erase", USER).code == 0

    def restored() -> None:
        for name in ("store", "ledger.db", "catalog.db", "exports", "quarantine"):
            for left in settings.root.glob(f"{name}*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            for kept in backup.glob(f"{name}*"):
                copy = shutil.copytree if kept.is_dir() else shutil.copy2
                copy(kept, settings.root / kept.name)

    return restored


def test_who_was_erased_since_the_backup_is_erased_again(run: Run, restore: Restore) -> None:
    restore()
    assert rows(run, USER) == 8
    looked = run("users", "reapply", "--dry-run", "--json").document
    assert [each["rowsRemoved"]["engagement_events"] for each in looked["requests"]] == [8]
    assert rows(run, USER) == 8
    done = run("users", "reapply", "--json")
    assert (done.code, done.document["certificatesRead"], done.document["suppressionsRestored"]) == (0, 2, 1)
    (request,) = done.document["requests"]
    assert (request["status"], request["rowsRemoved"]["engagement_events"]) == ("complete", 8)
    assert run("users", "verify-certificate", request["certificate"]).code == 0
    assert (rows(run, USER), rows(run, OTHER)) == (0, 8)
    again = run("users", "reapply", "--json").document
    assert (again["requests"], again["suppressionsRestored"]) == ([], 0)


def test_late_events_of_somebody_erased_since_the_backup_are_refused_again(
    run: Run, restore: Restore, settings: Settings
) -> None:
    restore()
    ledger = Ledger(settings)
    assert ledger.suppressions().num_rows == 1
    run("users", "reapply")
    assert Ledger(settings).suppressions().num_rows == 2


def test_certificates_kept_elsewhere_count_too(run: Run, restore: Restore, settings: Settings) -> None:
    kept = settings.root.parent / "kept"
    shutil.move(settings.root / "certificates", kept)
    restore()
    assert run("users", "reapply", "--json").document["requests"] == []
    assert len(run("users", "reapply", "--from", kept, "--json").document["requests"]) == 1
    assert rows(run, USER) == 0


def test_an_id_that_is_used_again_is_left_alone(run: Run, restore: Restore, settings: Settings) -> None:
    later = datetime.now(UTC) + timedelta(minutes=5)
    row = {
        "event": "feedEntry",
        "userId": USER,
        "timestamp": f"{later:%Y-%m-%dT%H:%M:%SZ}",
        "deviceType": "web",
    }
    landed = settings.root / "landing" / "events" / "later.jsonl"
    landed.parent.mkdir(parents=True, exist_ok=True)
    landed.write_text(json.dumps(row))
    run("ingest")
    assert rows(run, USER) == 1
    assert run("users", "reapply", "--json").document["requests"] == []
    assert rows(run, USER) == 1


def test_a_changed_certificate_is_not_used_and_named(run: Run, restore: Restore, settings: Settings) -> None:
    restore()
    for path in (settings.root / "certificates").glob("*.json"):
        path.write_text(path.read_text().replace('"erasedAt": "2', '"erasedAt": "1'))
    done = run("users", "reapply", "--json")
    assert (done.code, done.document["certificatesRead"], done.document["requests"]) == (1, 0, [])
    assert len(done.document["problems"]) == 2
    assert "was changed" in done.document["problems"][0]
