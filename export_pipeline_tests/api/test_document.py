"""The OpenAPI document says what the server does: requests made from it, right and wrong, are held to it."""

from urllib.parse import parse_qsl, urlsplit

import jsonschema
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from export_pipeline_tests.api.conftest import Api

OPERATIONS = (
    "POST /v1/analytics/export",
    "GET /v1/analytics/export/{jobId}",
    "DELETE /v1/analytics/export/{jobId}",
    "POST /v1/analytics/export/{jobId}/links",
    "GET /v1/analytics/exports",
    "GET /v1/exports/schedules",
    "POST /v1/exports/schedules",
    "GET /v1/exports/schedules/{id}",
    "PATCH /v1/exports/schedules/{id}",
    "DELETE /v1/exports/schedules/{id}",
    "POST /v1/exports/schedules/{id}/run",
    "POST /v1/users/exports",
    "POST /v1/users/{userId}/export",
    "GET /v1/users/exports/{jobId}",
    "POST /v1/users/erasures",
    "GET /v1/users/erasures/{requestId}",
    "GET /v1/users/erasures/{requestId}/certificate",
    "DELETE /v1/users/{userId}",
    "GET /v1/webhooks",
    "POST /v1/webhooks",
    "GET /v1/webhooks/{webhookId}",
    "PATCH /v1/webhooks/{webhookId}",
    "DELETE /v1/webhooks/{webhookId}",
    "POST /v1/webhooks/{webhookId}/rotate-secret",
    "POST /v1/webhooks/{webhookId}/test",
    "GET /v1/webhooks/{webhookId}/deliveries",
    "POST /v1/webhooks/{webhookId}/deliveries/{deliveryId}/retry",
    "GET /v1/downloads/{linkId}/{name}",
    "HEAD /v1/downloads/{linkId}/{name}",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
)
FEW = 10
"""Examples, the same each time."""
JUDGED = (
    "POST /v1/analytics/export",
    "POST /v1/exports/schedules",
    "PATCH /v1/exports/schedules/{id}",
    "POST /v1/webhooks",
    "PATCH /v1/webhooks/{webhookId}",
)


@pytest.fixture(scope="session")
def schema(api: Api) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{api.url}/openapi.json")


def test_every_call_is_tried(schema: schemathesis.BaseSchema) -> None:
    assert {found.ok().label for found in schema.get_all_operations()} == set(OPERATIONS)


@pytest.mark.parametrize("examples", [FEW, pytest.param(100, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        (operation, mode)
        for operation in OPERATIONS
        for mode in GenerationMode
        # Without parameters there is nothing to get wrong.
        if mode is GenerationMode.POSITIVE or "/v1/" in operation
    ],
)
def test_every_answer_is_one_that_the_document_promises(
    api: Api, schema: schemathesis.BaseSchema, operation: str, mode: GenerationMode, examples: int
) -> None:
    method, path = operation.split()
    described = schema[path][method]
    key = api.new_key("exports:read", "exports:write", "webhooks", "privacy")

    @given(case=described.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        derandomize=examples == FEW,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    def answered(case: schemathesis.Case) -> None:
        if mode is GenerationMode.NEGATIVE:
            assume(_is_sent(case))
        # A shape cannot say which days there are, or which addresses are public: what has the right shape
        # may still be refused.
        excluded = [positive_data_acceptance] if operation in JUDGED else []
        case.call_and_validate(
            session=api.session, headers={"Authorization": f"Bearer {key}"}, excluded_checks=excluded
        )

    answered()


def _is_sent(case: schemathesis.Case) -> bool:
    """Whether each parameter of a case's query is in its URL: one without a value is not, and what is wrong
    with it then never reaches the server."""
    url = requests.Request("GET", "http://server", params=case.query or {}).prepare().url
    sent = {name for name, _ in parse_qsl(urlsplit(url or "").query, keep_blank_values=True)}
    return (case.query or {}).keys() <= sent


def test_each_answer_has_an_example_of_its_shape(api: Api) -> None:
    document = api.get("/openapi.json").json()
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            if path.startswith(("/v1/analytics", "/v1/exports", "/v1/users", "/v1/webhooks")):
                for status, answer in call["responses"].items():
                    content = answer["content"]["application/json"]
                    shape = {**content["schema"], "components": document["components"]}
                    assert content["example"], (path, method, status)
                    jsonschema.validate(content["example"], shape)
                if "requestBody" in call:
                    assert call["requestBody"]["content"]["application/json"]["examples"]


def test_the_page_shows_every_call_and_loads_nothing_from_elsewhere(api: Api) -> None:
    shown = api.get("/docs")
    assert shown.headers["Content-Type"].startswith("text/html")
    for operation in OPERATIONS:
        assert f"<code>{operation.split()[1]}</code>" in shown.text
    assert "src=" not in shown.text
    assert "<script" not in shown.text
