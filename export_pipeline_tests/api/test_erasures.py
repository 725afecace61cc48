"""People are erased over HTTP: asked for, followed, proven; their ids go nowhere."""

import logging
from typing import Any
from urllib.parse import quote

import pytest

from export_pipeline.days import utc_now
from export_pipeline.privacy.erasing import STEPS, take_step
from export_pipeline_tests.api.conftest import Api

USER, OTHER = "user_00000002", "user_00000003"
SLASHED = "ada/ä b?#%2F"


def work(api: Api, request_id: str) -> None:
    """Work on a request as Dagster's run does."""
    for name in STEPS:
        take_step(api.settings, api.store, api.ledger, request_id, name, utc_now())


def status(api: Api, request_id: str) -> dict[str, Any]:
    data: dict[str, Any] = api.get(f"/v1/users/erasures/{request_id}").json()["data"]
    return data


def asked(api: Api, *user_ids: object, **more: Any) -> dict[str, Any]:
    answer = api.post("/v1/users/erasures", json={"userIds": list(user_ids)}, **more)
    assert answer.status_code == 202, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def test_two_people_are_erased_and_each_request_has_its_certificate(officer: Api) -> None:
    data = asked(officer, USER, OTHER)
    assert [request["status"] for request in data["requests"]] == ["queued", "queued"]
    assert "requestId" not in data
    first, second = (request["requestId"] for request in data["requests"])
    waiting = status(officer, first)
    assert (waiting["status"], waiting["rowsRemoved"]) == ("queued", {})
    assert officer.get(f"/v1/users/erasures/{first}/certificate").status_code == 409
    work(officer, first)
    for request_id in (first, second):
        shown = status(officer, request_id)
        assert shown["status"] == "complete"
        assert shown["rowsRemoved"]["engagement_events"] > 0
        certificate = officer.session.get(
            shown["certificateUrl"], headers={"Authorization": f"Bearer {officer.key}"}
        )
        assert certificate.json()["requestId"] == request_id


def test_a_person_named_twice_is_one_request(officer: Api) -> None:
    assert len(asked(officer, "dora", "emil", "dora")["requests"]) == 2


def test_a_person_is_erased_by_their_path_whatever_their_id_is(officer: Api) -> None:
    answer = officer.call("DELETE", f"/v1/users/{quote(SLASHED, safe='')}")
    data = answer.json()["data"]
    assert answer.status_code == 202
    assert data["requests"] == [{name: data[name] for name in ("requestId", "status", "dueAt")}]
    assert officer.ledger.erasures.subject(data["requestId"]).user_id == SLASHED


def test_the_same_call_again_makes_the_same_requests(officer: Api) -> None:
    headers = {"Idempotency-Key": "erase-once"}
    first = asked(officer, "anna", "berta", headers=headers)
    assert asked(officer, "anna", "berta", headers=headers) == first
    assert len({request["requestId"] for request in first["requests"]}) == 2
    other = officer.post("/v1/users/erasures", json={"userIds": ["anna"]}, headers=headers)
    assert other.status_code == 409


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "userIds"),
        ({"userIds": "anna"}, "userIds"),
        ({"userIds": []}, "userIds"),
        ({"userIds": ["anna", ""]}, "userIds"),
        ({"userIds": ["anna", 7]}, "userIds"),
        ({"userIds": ["u"] * 1001}, "userIds"),
        ({"userIds": ["anna"], "anna": 1}, "body"),
    ],
)
def test_what_names_nobody_is_refused_with_its_field_and_without_an_id(
    officer: Api, body: dict[str, Any], field: str
) -> None:
    answer = officer.post("/v1/users/erasures", json=body)
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, field)
    assert "anna" not in answer.text


def test_erasing_needs_the_scope_for_it(officer: Api) -> None:
    key = officer.new_key("exports:read", "exports:write", "webhooks")
    headers = {"Authorization": f"Bearer {key}"}
    assert officer.call("DELETE", "/v1/users/anna", headers=headers).status_code == 403
    assert officer.post("/v1/users/erasures", json={"userIds": ["a"]}, headers=headers).status_code == 403


def test_an_unknown_request_is_not_found(officer: Api) -> None:
    assert officer.get("/v1/users/erasures/era_none").status_code == 404


def test_a_request_that_failed_says_why(officer: Api) -> None:
    request_id = asked(officer, "carla")["requestId"]
    officer.ledger.erasures.fail(request_id, "INTERNAL_ERROR", "a file nobody knows", utc_now())
    shown = status(officer, request_id)
    assert (shown["status"], shown["error"]["message"]) == ("failed", "a file nobody knows")


def test_no_log_holds_an_id(officer: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        officer.call("DELETE", "/v1/users/user_99999999")
        asked(officer, "user_99999999")
    assert "user_99999999" not in caplog.text
