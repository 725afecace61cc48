"""Scheduled exports are made, run and looked after from the command line."""

import io
import json
from datetime import timedelta

import pytest

from export_pipeline.days import utc_now
from export_pipeline_tests.cli.conftest import Run

MAIL = ("--email", "data@example.com")


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_PIPELINE_CLOSE_DELAY_MINUTES", "0")


@pytest.fixture
def schedule_id(run: Run) -> str:
    return str(run("schedules", "create", "--frequency", "daily", *MAIL, "--json").document["id"])


def test_one_is_made_listed_and_shown(run: Run) -> None:
    assert run("schedules", "list").out == "no schedules\n"
    made = run(
        "schedules", "create", "--frequency", "weekly", "--data-types", "events, ads", "--format", "csv",
        "--event-type", "click", *MAIL, "--json",
    ).document  # fmt: skip
    assert (made["frequency"], made["dataTypes"], made["format"]) == ("weekly", ["events", "ads"], "csv")
    assert made["filters"] == {"contentIds": [], "eventTypes": ["click"], "userCount": 0}
    assert made["delivery"] == {"email": "data@example.com"}
    assert (made["mode"], made["enabled"], made["lastExportId"]) == ("full", True, None)
    assert run("schedules", "list", "--json").document == {
        "schedules": [made],
        "total": 1,
        "nextCursor": None,
    }
    listed = run("schedules", "list").out
    assert made["id"] in listed
    assert "1 of 1 schedules" in listed
    shown = run("schedules", "show", made["id"]).out
    assert "frequency: weekly" in shown
    assert "enabled: yes" in shown


def test_a_url_makes_an_endpoint_and_shows_its_secret_this_once(run: Run) -> None:
    made = run(
        "schedules", "create", "--frequency", "daily", "--url", "https://example.com/hook", "--json"
    ).document
    assert made["secret"].startswith("whsec_")
    webhook_id = made["delivery"]["webhookId"]
    assert run("webhooks", "show", webhook_id, "--json").document["url"] == "https://example.com/hook"
    assert "secret" not in run("schedules", "show", made["id"], "--json").document
    used = run("webhooks", "delete", webhook_id)
    assert (used.code, made["id"] in used.err) == (1, True)


def test_e_mail_is_refused_where_there_is_no_mail_server(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_PIPELINE_SMTP_HOST", "")
    refused = run("schedules", "create", "--frequency", "daily", *MAIL)
    assert refused.code == 2
    assert "delivery.email cannot be written to" in refused.err
    assert "EXPORT_PIPELINE_SMTP_HOST names no mail server" in refused.err
    assert run("schedules", "list").out == "no schedules\n"


def test_users_come_by_standard_input_and_are_not_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("user_00000001\nuser_00000002\n"))
    made = run("schedules", "create", "--frequency", "daily", "--stdin", *MAIL, "--json")
    assert made.document["filters"]["userCount"] == 2
    assert "user_0" not in made.out + run("schedules", "list").out
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    nobody = run("schedules", "create", "--frequency", "daily", "--stdin", *MAIL)
    assert nobody.code == 2
    assert "filters.userIds" in nobody.err


def test_one_is_changed_run_and_removed(run: Run, schedule_id: str) -> None:
    off = run("schedules", "update", schedule_id, "--disable", "--compression", "none", "--json").document
    assert (off["enabled"], off["nextRunAt"], off["compression"]) == (False, None, "none")
    assert run("schedules", "update", schedule_id).code == 2
    queued = run("schedules", "run", schedule_id, "--json").document
    day = f"{utc_now():%Y%m%d}"
    assert queued == {
        "id": schedule_id,
        "exportId": f"exp_daily_{day}_{schedule_id}",
        "status": "queued",
    }
    (job,) = json.loads(run("jobs", "list", "--json").out)["jobs"]
    yesterday = str(utc_now().date() - timedelta(days=1))
    assert (job["jobId"], job["dateRange"]["start"]) == (queued["exportId"], yesterday)
    assert "is queued" in run("schedules", "run", schedule_id).err
    assert run("schedules", "delete", schedule_id, "--json").document == {"id": schedule_id, "deleted": True}
    assert run("jobs", "show", queued["exportId"], "--json").document["status"] == "cancelled"


@pytest.mark.parametrize("command", ["show", "delete", "run"])
def test_what_does_not_exist_is_a_failure(run: Run, command: str) -> None:
    result = run("schedules", command, "sch_nothing")
    assert (result.code, result.out) == (1, "")
    assert "there is no such schedule; id must be sch_ and 24 hexadecimal digits" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--frequency", "daily"], "delivery is missing"),
        (["--frequency", "hourly", *MAIL], "frequency is 'hourly'; it must be one of daily, weekly"),
        (["--frequency", "daily", *MAIL, "--mode", "partial"], "mode is 'partial'"),
        (["--frequency", "daily", *MAIL, "--url", "https://example.com"], "give one of"),
        (["--frequency", "daily", "--url", "http://10.0.0.1/"], "delivery.url"),
    ],
)
def test_a_wrong_call_is_refused_with_what_would_be_right(run: Run, arguments: list[str], said: str) -> None:
    result = run("schedules", "create", *arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
