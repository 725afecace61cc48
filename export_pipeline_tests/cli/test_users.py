"""One person's data from the command line."""

import io
import json
import sys
import zipfile
from pathlib import Path

import pytest

from export_pipeline.days import utc_now
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.api.conftest import land_yesterday
from export_pipeline_tests.cli.conftest import Run
from export_pipeline_tests.privacy.people import add_links

USER = "user_00000003"


@pytest.fixture(autouse=True)
def landed(settings: Settings) -> None:
    store = Store(settings)
    land_yesterday(store, Ledger(settings))
    add_links(store, [(USER, "user_00000004"), ("somebody", "user_00000004")])


def test_the_archive_lies_in_the_directory_named_by_the_job(run: Run, tmp_path: Path) -> None:
    document = run("users", "export", USER, "--out", tmp_path / "new/out", "--json").document
    path = tmp_path / "new/out" / f"{document['jobId']}.zip"
    assert document == {"jobId": document["jobId"], "path": str(path), "rows": 16, "withheld": 16}
    with zipfile.ZipFile(path) as archive:
        rows = [json.loads(line) for line in archive.read("engagement_events.jsonl").splitlines()]
    assert {row["userId"] for row in rows} == {USER}
    assert run("verify", path).code == 0
    assert list(path.parent.iterdir()) == [path]


def test_the_id_can_come_from_standard_input(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{USER}\n"))
    assert run("users", "export", "--stdin", "--out", tmp_path / "out", "--json").document["rows"] == 16


def test_a_person_of_whom_nothing_is_held_gets_an_archive(run: Run, tmp_path: Path) -> None:
    assert "0 rows, 0 withheld" in run("users", "export", "nobody", "--out", tmp_path / "out").out


@pytest.mark.parametrize("given", [(), (USER, "--stdin"), ("--stdin",)])
def test_not_exactly_one_id_is_a_wrong_call(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n"))
    result = run("users", "export", *given, "--out", tmp_path / "out")
    assert result.code == 2
    assert USER not in result.err


def test_nothing_of_a_person_goes_into_the_state_root(run: Run, settings: Settings) -> None:
    result = run("users", "export", USER, "--out", settings.root / "out")
    assert (result.code, "outside the state root" in result.err) == (2, True)
    assert Ledger(settings).jobs.open(utc_now()) == ()
    assert not (settings.root / "out").exists()


def test_an_access_export_is_shown_as_a_job_and_is_not_in_the_list(run: Run, tmp_path: Path) -> None:
    job_id = run("users", "export", USER, "--out", tmp_path / "out", "--json").document["jobId"]
    shown = run("jobs", "show", job_id)
    assert "withheld: 16" in shown.out
    assert USER not in shown.out
    assert run("jobs", "list").out == "no jobs\n"
