"""One person's data over HTTP: asked for, followed, downloaded; the id goes nowhere."""

import io
import json
import logging
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from export_pipeline.days import utc_now
from export_pipeline.ledger import Job
from export_pipeline.privacy.access import Access
from export_pipeline_tests.api.conftest import Api

USER = "user_00000002"
SLASHED = "ada/ä b?#%2F"


def work(api: Api, job_id: str) -> Job:
    """Work on a request as Dagster's run does."""
    access = Access(api.settings, api.store, api.ledger)
    access.collect(job_id)
    return access.publish(job_id)


def asked(api: Api, user_id: str = USER, **more: Any) -> str:
    answer = api.post("/v1/users/exports", json={"userId": user_id}, **more)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["data"]["jobId"])


def status(api: Api, job_id: str) -> dict[str, Any]:
    data: dict[str, Any] = api.get(f"/v1/users/exports/{job_id}").json()["data"]
    return data


def test_a_person_is_asked_for_and_the_archive_downloaded(officer: Api) -> None:
    job_id = asked(officer)
    assert job_id.startswith("usr_exp_")
    assert status(officer, job_id)["status"] == "queued"
    work(officer, job_id)
    shown = status(officer, job_id)
    assert (shown["status"], shown["rowCount"], shown["withheld"], shown["progress"]) == (
        "complete",
        16,
        0,
        100,
    )
    archive = officer.session.get(shown["downloadUrl"])
    assert archive.headers["Content-Type"] == "application/zip"
    assert f"{job_id}.zip" in archive.headers["Content-Disposition"]
    assert int(archive.headers["Content-Length"]) == shown["bytes"]
    with zipfile.ZipFile(io.BytesIO(archive.content)) as files:
        inside = {name: files.read(name) for name in files.namelist()}
    assert officer.session.get(shown["manifestUrl"]).content == inside["manifest.json"]
    for file in shown["files"]:
        assert officer.session.get(file["url"]).content == inside[file["name"]]
        part = officer.session.get(file["url"], headers={"Range": "bytes=10-19"})
        assert part.content == inside[file["name"]][10:20]
        assert part.status_code == (206 if file["rows"] else 416)


@pytest.mark.parametrize("user_id", [USER, SLASHED])
def test_the_id_can_be_in_the_path(officer: Api, user_id: str) -> None:
    answer = officer.post(f"/v1/users/{quote(user_id, safe='')}/export")
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["data"]["jobId"]
    assert officer.ledger.jobs.user_ids(job_id) == (user_id,)
    assert list(answer.json()["data"]) == ["jobId", "status", "createdAt"]


def test_the_same_request_again_is_the_same_job(officer: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    assert asked(officer, headers=headers) == asked(officer, headers=headers)
    other = officer.post("/v1/users/exports", json={"userId": "other"}, headers=headers)
    assert other.status_code == 409


@pytest.mark.parametrize("body", [{}, {"userId": ""}, {"userId": 7}, {"userId": "x", "user_00000009": 1}])
def test_a_malformed_request_is_refused_without_showing_it(officer: Api, body: dict[str, Any]) -> None:
    answer = officer.post("/v1/users/exports", json=body)
    assert answer.status_code == 400
    assert "user_00000009" not in answer.text


def test_only_the_scope_for_people_gets_at_them(officer: Api) -> None:
    job_id = asked(officer)
    key = officer.new_key("exports:read", "exports:write")
    assert officer.post("/v1/users/exports", json={"userId": USER}, key=key).status_code == 403
    assert officer.get(f"/v1/users/exports/{job_id}", key=key).status_code == 403
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/links")):
        assert officer.call(method, f"/v1/analytics/export/{job_id}{path}", key=key).status_code == 404
    listed = officer.get("/v1/analytics/exports", key=key).json()
    assert listed["meta"]["total"] == 0


def test_an_export_is_no_access_export(officer: Api) -> None:
    answer = officer.get(f"/v1/users/exports/{USER}")
    assert answer.status_code == 404
    assert USER not in answer.text


def test_the_id_is_in_no_log_and_no_answer(
    officer: Api, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [
        officer.post(f"/v1/users/{USER}/export"),
        officer.post("/v1/users/exports", json={"userId": USER}),
    ]
    for answer in answers[:2]:
        job_id = answer.json()["data"]["jobId"]
        work(officer, job_id)
        answers.append(officer.get(f"/v1/users/exports/{job_id}"))
        answers.append(officer.session.get(status(officer, job_id)["manifestUrl"]))
    answers.append(officer.get(f"/v1/users/{USER}/nothing"))
    assert not any(USER in answer.text or USER in json.dumps(dict(answer.headers)) for answer in answers)
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("export"))
    assert "/v1/users/{userId:path}/export" in logged
    assert USER not in logged
    files = [path for path in officer.settings.root.rglob("*") if path.is_file()]
    assert not any(USER in path.name for path in files)
    ledger = [path.read_bytes() for path in files if path.name.startswith("ledger")]
    assert not any(USER.encode() in content for content in ledger)


def test_the_archive_is_gone_once_it_has_expired(officer: Api) -> None:
    job_id = asked(officer)
    job = work(officer, job_id)
    url = status(officer, job_id)["downloadUrl"]
    assert job.expires_at is not None
    assert (job.expires_at - utc_now()).days == 6
    officer.ledger.jobs.expire_due(job.expires_at)
    assert officer.session.get(url).status_code == 410
    assert status(officer, job_id)["status"] == "expired"
