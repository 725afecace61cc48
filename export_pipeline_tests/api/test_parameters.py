"""Parameters of a query that cannot be meant are refused."""

import pytest

from export_pipeline_tests.api.conftest import Api


@pytest.mark.parametrize("path", ["/v1/analytics/exports", "/v1/webhooks", "/v1/exports/schedules"])
@pytest.mark.parametrize(("query", "field"), [("cursor=7&cursor=8", "cursor"), ("colour=red", "colour")])
def test_an_unknown_or_repeated_parameter_is_refused(api: Api, path: str, query: str, field: str) -> None:
    answer = api.get(f"{path}?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["field"] == field
