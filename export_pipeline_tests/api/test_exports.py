"""Asking for exports over HTTP: answers, errors, and what a job looks like at each stage."""

import re
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.days import utc_now
from export_pipeline_tests.api.conftest import ROWS, Api, Serving
from export_pipeline_tests.integration.stack import eventually

EXPORT = "/v1/analytics/export"


def refused(answer: Any) -> tuple[int, str, str | None]:
    document = answer.json()
    assert set(document) == {"error", "meta"}
    assert set(document["error"]) == {"code", "message", "details"}
    assert re.fullmatch("req_[0-9a-f]{24}", document["meta"]["requestId"])
    return answer.status_code, document["error"]["code"], document["error"]["details"]["field"]


def test_a_request_is_accepted_with_an_estimate(api: Api) -> None:
    answer = api.post(EXPORT, json={"startDate": api.yesterday, "endDate": api.yesterday})
    document = answer.json()
    assert answer.status_code == 202
    assert list(document["data"]) == [
        "jobId",
        "status",
        "estimatedSize",
        "estimatedRowCount",
        "estimatedCompletion",
        "createdAt",
    ]
    assert document["data"]["jobId"].startswith("exp_")
    assert (document["data"]["status"], document["data"]["estimatedRowCount"]) == ("queued", ROWS)
    assert answer.headers["X-Request-Id"] == document["meta"]["requestId"]


def test_a_complete_job_shows_where_its_files_are(api: Api) -> None:
    status = api.complete()
    assert (status["status"], status["progress"], status["rowCount"]) == ("complete", 100, ROWS)
    [file] = status["files"]
    assert status["bytes"] == file["bytes"]
    assert re.fullmatch(r"[\d.]+k?B", status["fileSize"])
    assert file["name"] == "events/part-00000.jsonl.gz"
    assert status["downloadUrl"].startswith(f"{api.url}/v1/downloads/lnk_")
    assert api.get(f"{EXPORT}/{status['jobId']}").json()["data"] == status


def test_the_list_is_newest_first_and_has_every_job_once(api: Api) -> None:
    asked = [api.ask() for _ in range(5)]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.get(
            "/v1/analytics/exports", params={"limit": 2, "cursor": cursor} if cursor else {"limit": 2}
        )
        document = page.json()
        assert len(document["data"]) <= 2
        seen += [job["jobId"] for job in document["data"]]
        cursor = document["meta"]["nextCursor"]
    assert seen[:5] == asked[::-1]
    assert len(seen) == len(set(seen)) == document["meta"]["total"]


def test_the_list_can_be_of_one_state(api: Api) -> None:
    job_id = api.ask()
    api.call("DELETE", f"{EXPORT}/{job_id}")
    listed = api.get("/v1/analytics/exports?status=cancelled").json()["data"]
    assert job_id in {job["jobId"] for job in listed}
    assert {job["status"] for job in listed} == {"cancelled"}


def test_a_waiting_job_is_cancelled_once(api: Api) -> None:
    job_id = api.ask()
    answer = api.call("DELETE", f"{EXPORT}/{job_id}")
    assert (answer.status_code, answer.json()["data"]) == (200, {"jobId": job_id, "status": "cancelled"})
    assert refused(api.call("DELETE", f"{EXPORT}/{job_id}")) == (409, "CONFLICT", "jobId")
    assert "downloadUrl" not in api.status(job_id)


def test_a_failed_job_says_why(api: Api) -> None:
    job_id = api.ask()
    api.ledger.jobs.fail(job_id, "SERVICE_UNAVAILABLE", "no room was left", utc_now())
    assert api.status(job_id)["error"] == {"code": "SERVICE_UNAVAILABLE", "message": "no room was left"}


@pytest.mark.parametrize(
    ("values", "status", "code", "field"),
    [
        ({"startDate": "16.11.2026"}, 400, "VALIDATION_ERROR", "startDate"),
        ({"endDate": "2999-01-01"}, 400, "VALIDATION_ERROR", "endDate"),
        ({"startDate": "2020-01-01", "endDate": "2020-01-31"}, 422, "OUTSIDE_RETENTION", "startDate"),
        ({"startDate": "2020-01-01", "endDate": "2020-02-01"}, 400, "VALIDATION_ERROR", "endDate"),
        ({"dataTypes": []}, 400, "VALIDATION_ERROR", "dataTypes"),
        ({"filters": {"eventTypes": ["click"]}}, 400, "VALIDATION_ERROR", "filters.eventTypes"),
        ({"limit": 5}, 400, "VALIDATION_ERROR", "limit"),
    ],
)
def test_a_wrong_field_is_named(api: Api, values: dict[str, Any], status: int, code: str, field: str) -> None:
    body = {"startDate": api.yesterday, "endDate": api.yesterday, **values}
    assert refused(api.post(EXPORT, json=body)) == (status, code, field)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b"1" * 10_000, b'"\\ud800"']
)
def test_a_body_that_is_no_json_object_is_refused(api: Api, body: bytes) -> None:
    assert refused(api.post(EXPORT, data=body)) == (400, "VALIDATION_ERROR", "body")


def test_no_body_is_refused_by_its_first_missing_field(api: Api) -> None:
    assert refused(api.post(EXPORT)) == (400, "VALIDATION_ERROR", "startDate")


def test_a_100_mb_body_is_refused_and_the_server_goes_on(api: Api) -> None:
    def chunks() -> Any:
        yield from (b"x" * (1 << 20) for _ in range(100))

    assert refused(api.post(EXPORT, data=chunks())) == (400, "VALIDATION_ERROR", "body")
    assert api.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        f"{EXPORT}/exp_unknown",
        f"{EXPORT}/..%2f..%2fledger.db",
        f"{EXPORT}/%00",
        f"{EXPORT}/{'x' * 5000}",
        "/v1/analytics",
        "/v1/../secrets/links.key",
        "/v2/analytics/exports",
    ],
)
def test_what_does_not_exist_is_not_found(api: Api, path: str) -> None:
    assert refused(api.get(path))[:2] == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("status=done", "status"),
        ("cursor=abc", "cursor"),
        ("state=complete", "state"),
    ],
)
def test_a_wrong_parameter_is_named(api: Api, query: str, field: str) -> None:
    assert refused(api.get(f"/v1/analytics/exports?{query}")) == (400, "VALIDATION_ERROR", field)


def test_another_method_is_told_which_there_are(api: Api) -> None:
    answer = api.call("PUT", "/v1/analytics/exports")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET"


def test_the_same_idempotency_key_makes_one_job(api: Api) -> None:
    body = {"startDate": api.yesterday, "endDate": api.yesterday}
    headers = {"Idempotency-Key": "order-1"}
    first, second = (api.post(EXPORT, json=body, headers=headers) for _ in range(2))
    assert first.json()["data"] == second.json()["data"]
    assert second.status_code == 202
    assert second.headers["Idempotency-Replayed"] == "true"
    other = api.post(EXPORT, json={**body, "format": "csv"}, headers=headers)
    assert refused(other) == (409, "CONFLICT", "Idempotency-Key")


def test_a_refused_request_can_be_corrected_under_its_idempotency_key(api: Api) -> None:
    headers = {"Idempotency-Key": "order-2"}
    assert api.post(EXPORT, json={"startDate": api.yesterday}, headers=headers).status_code == 400
    body = {"startDate": api.yesterday, "endDate": api.yesterday}
    assert api.post(EXPORT, json=body, headers=headers).status_code == 202


def test_the_21st_job_of_a_day_is_refused_until_tomorrow(serving: Serving, tmp_path: Path) -> None:
    api = serving(tmp_path / "home")
    for _ in range(20):
        api.ask()
    answer = api.post(EXPORT, json={"startDate": api.yesterday, "endDate": api.yesterday})
    assert refused(answer)[:2] == (429, "RATE_LIMITED")
    assert 0 < int(answer.headers["Retry-After"]) <= 86401


def test_no_answer_and_no_log_shows_the_users_of_a_filter(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    status = api.complete(filters={"userIds": ["user_00000001"]})
    assert status["filters"]["userCount"] == 1
    api.get("/v1/analytics/export/user_00000001")
    # A line is written once its answer has been sent.
    line = "GET /v1/analytics/export/{jobId} 404"
    eventually("the line of the access log", lambda: line in caplog.text, seconds=20)
    texts = str(status) + caplog.text + api.get("/metrics").text
    assert "user_00000001" not in texts
