"""People erased from the command line: what would go, what went, and the proof."""

import io
import sys
from pathlib import Path

import pytest

from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.api.conftest import land_yesterday
from export_pipeline_tests.cli.conftest import Run

USER, OTHER = "user_00000003", "user_00000004"


@pytest.fixture(autouse=True)
def landed(settings: Settings) -> None:
    land_yesterday(Store(settings), Ledger(settings))


def rows(run: Run, user: str) -> int:
    sql = f"select count(*) as n from engagement_events where userId = '{user}'"
    return int(run("query", sql, "--json").document[0]["n"])


def test_looking_says_what_would_go_and_changes_nothing(run: Run, settings: Settings) -> None:
    document = run("users", "erase", USER, OTHER, "--dry-run", "--json").document
    assert [each["rowsRemoved"]["engagement_events"] for each in document["requests"]] == [8, 8]
    assert rows(run, USER) == 8
    assert Ledger(settings).erasures.open() == ()
    assert "16 rows would be removed: 8 of engagement_events" in run("users", "erase", USER, "--dry-run").out


def test_a_person_is_erased_and_the_certificate_verifies(run: Run) -> None:
    (request,) = run("users", "erase", USER, "--json").document["requests"]
    assert (request["status"], request["rowsRemoved"]["engagement_events"]) == ("complete", 8)
    assert (rows(run, USER), rows(run, OTHER)) == (0, 8)
    assert run("users", "verify-certificate", request["certificate"]).code == 0
    assert run("users", "erasure", request["requestId"], "--json").document["requests"] == [request]
    assert USER not in Path(request["certificate"]).read_text()


def test_ids_come_from_standard_input_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{OTHER}\n\n"))
    requests = run("users", "erase", USER, "--stdin", "--json").document["requests"]
    assert len({request["certificate"] for request in requests}) == 2
    assert (rows(run, USER), rows(run, OTHER)) == (0, 0)


def test_somebody_nobody_knows_is_erased_with_no_rows(run: Run) -> None:
    told = run("users", "erase", "nobody-at-all").out
    assert "is complete" in told
    assert "0 rows removed" in told


def test_nobody_to_erase_is_a_wrong_call(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert run("users", "erase").code == 2
    assert run("users", "erase", "--stdin").code == 2


def test_a_file_that_nobody_accounts_for_fails_the_command_and_says_which(
    run: Run, settings: Settings
) -> None:
    (settings.root / "notes.txt").write_text("something")
    result = run("users", "erase", USER)
    assert (result.code, "notes.txt" in result.err) == (1, True)
    assert USER not in result.err
    (settings.root / "notes.txt").unlink()
    (again,) = run("users", "erase", USER, "--json").document["requests"]
    assert (again["status"], again["rowsRemoved"]["engagement_events"]) == ("complete", 8)
