"""Parameters of a query that cannot be meant are refused."""

import pytest

from export_pipeline_tests.api.conftest import Api

USER = "user_00000001"
EXPORT, SCHEDULES, WEBHOOKS = "/v1/analytics/export", "/v1/exports/schedules", "/v1/webhooks"


@pytest.mark.parametrize("path", ["/v1/analytics/exports", "/v1/webhooks", "/v1/exports/schedules"])
@pytest.mark.parametrize(("query", "field"), [("cursor=7&cursor=8", "cursor"), ("colour=red", "colour")])
def test_an_unknown_or_repeated_parameter_is_refused(api: Api, path: str, query: str, field: str) -> None:
    answer = api.get(f"{path}?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["field"] == field


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"/v1/analytics/exports?status={USER}", "status"),
        (f"/v1/analytics/exports?cursor={USER}", "cursor"),
        (f"/v1/analytics/exports?limit={USER}", "limit"),
        (f"/v1/analytics/exports?{USER}=1", "query"),
        (f"{SCHEDULES}?cursor={USER}", "cursor"),
        (f"{WEBHOOKS}?cursor={USER}", "cursor"),
    ],
)
def test_a_user_id_in_a_query_is_not_repeated(api: Api, path: str, field: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, field)
    assert USER not in answer.text


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (EXPORT, {USER: 1}, "body"),
        (EXPORT, {"cursor": USER}, "cursor"),
        (EXPORT, {"startDate": "2026-11-01", "endDate": "2026-11-01", "filters": {USER: []}}, "filters"),
        (SCHEDULES, {USER: 1}, "body"),
        (WEBHOOKS, {USER: 1}, "body"),
        ("/v1/users/exports", {USER: 1}, "body"),
        ("/v1/users/erasures", {USER: 1}, "body"),
    ],
)
def test_a_user_id_in_a_body_is_not_repeated(
    api: Api, path: str, body: dict[str, object], field: str
) -> None:
    key = api.new_key("exports:write", "webhooks", "privacy")
    answer = api.post(path, key=key, json=body)
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, field)
    assert USER not in answer.text


def test_a_number_out_of_range_is_told(api: Api) -> None:
    assert (
        "limit is 1000; it must be" in api.get("/v1/analytics/exports?limit=1000").json()["error"]["message"]
    )
