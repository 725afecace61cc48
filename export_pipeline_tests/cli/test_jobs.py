"""Exports are queued, followed and cancelled from the command line."""

from datetime import timedelta

import pytest

from export_pipeline.days import utc_now
from export_pipeline.exports.service import run_job
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.cli.conftest import Result, Run

YESTERDAY = str(utc_now().date() - timedelta(days=1))
RANGE = ("--start", YESTERDAY, "--end", YESTERDAY)


def queue(run: Run, *more: str) -> Result:
    return run("export", "--queue", *RANGE, *more, "--json")


def test_an_export_is_queued_and_followed_until_its_files_are_there(run: Run, settings: Settings) -> None:
    queued = queue(run, "--data-types", "ads,events", "--format", "csv").document
    assert list(queued) == [
        "jobId", "status", "estimatedSize", "estimatedRowCount", "estimatedCompletion", "createdAt",
    ]  # fmt: skip
    job_id = queued["jobId"]
    assert run("jobs", "show", job_id, "--json").document["status"] == "queued"
    run_job(settings, Store(settings), Ledger(settings), job_id, 1)
    shown = run("jobs", "show", job_id, "--json").document
    assert (shown["status"], shown["rowCount"]) == ("complete", 0)
    assert (shown["dataTypes"], shown["format"]) == (["ads", "events"], "csv")
    assert run("verify", shown["path"]).code == 0


def test_jobs_are_listed_newest_first_by_pages(run: Run) -> None:
    ids = [queue(run).document["jobId"] for _ in range(3)]
    first = run("jobs", "list", "--limit", "2", "--json").document
    assert ([job["jobId"] for job in first["jobs"]], first["total"]) == (ids[:0:-1], 3)
    last = run("jobs", "list", "--cursor", first["nextCursor"], "--json").document
    assert ([job["jobId"] for job in last["jobs"]], last["nextCursor"]) == (ids[:1], None)


def test_a_person_sees_a_table_and_sentences(run: Run) -> None:
    assert run("jobs", "list").out == "no jobs\n"
    said = run("export", "--queue", *RANGE).out
    assert "is queued: about 0 rows" in said
    job_id = said.split()[0]
    assert job_id in run("jobs", "list").out
    assert "status: queued" in run("jobs", "show", job_id).out
    assert run("jobs", "cancel", job_id).out == f"{job_id} is cancelled\n"


def test_a_job_is_cancelled_once(run: Run) -> None:
    job_id = queue(run).document["jobId"]
    assert run("jobs", "cancel", job_id, "--json").document == {"jobId": job_id, "status": "cancelled"}
    again = run("jobs", "cancel", job_id)
    assert (again.code, again.out) == (1, "")
    assert "has ended; it is cancelled" in again.err
    assert run("jobs", "list", "--status", "cancelled", "--json").document["total"] == 1


def test_users_of_a_queued_filter_are_shown_as_a_count(run: Run) -> None:
    job_id = queue(run, "--user-id", "user_00000001").document["jobId"]
    shown = run("jobs", "show", job_id, "--json")
    assert shown.document["filters"]["userCount"] == 1
    assert "user_00000001" not in shown.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["jobs", "list", "--status", "done"], "status is 'done'; it must be one of queued"),
        (["jobs", "list", "--limit", "0"], "limit is 0"),
        (["jobs", "list", "--cursor", "x"], "cursor is 'x'"),
        (["export", *RANGE], "'--queue'"),
        (["export", *RANGE, "--queue", "--out", "x"], "--queue excludes --out"),
        (["export", *RANGE, "--queue", "--format", "xml"], "format is 'xml'"),
    ],
)
def test_a_wrong_call_is_refused_with_what_would_be_right(run: Run, arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_a_job_without_files_has_no_links(run: Run) -> None:
    result = run("jobs", "links", queue(run).document["jobId"])
    assert (result.code, result.out) == (1, "")
    assert "only a complete one has files" in result.err


@pytest.mark.parametrize("command", ["show", "cancel", "links"])
def test_a_job_that_does_not_exist_is_a_failure(run: Run, command: str) -> None:
    result = run("jobs", command, "exp_nothing")
    assert result.code == 1
    assert "there is no such job; jobId must be the id of one" in result.err
