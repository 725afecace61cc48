"""Endpoints are made, changed, tested and removed over HTTP; what was sent can be read and retried."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import standardwebhooks

from export_pipeline.delivery.outbox import Courier
from export_pipeline_tests.api.conftest import Api, Serving
from export_pipeline_tests.api.test_exports import refused
from export_pipeline_tests.delivery.receivers import Receiver, receiver

WEBHOOKS = "/v1/webhooks"


@pytest.fixture(scope="module")
def there() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(there: Receiver) -> None:
    there.got.clear()
    there.reply = lambda _, __: (200, {}, b"ok")


@pytest.fixture(scope="module")
def api(serving: Serving, there: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Api:
    home = tmp_path_factory.mktemp("webhooks") / "home"
    return serving(
        home, jobs_per_day="1000", rate_limit="100000", webhook_allow=there.url.removesuffix("/hook")
    )


def made(api: Api, url: str, **values: Any) -> dict[str, Any]:
    answer = api.post(WEBHOOKS, json={"url": url, "events": ["export.ready"], **values})
    assert answer.status_code == 201, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def data(api: Api, method: str, path: str, **more: Any) -> Any:
    answer = api.call(method, f"{WEBHOOKS}{path}", **more)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def deliver(api: Api) -> None:
    Courier(api.settings, api.ledger).deliver_due()


@pytest.fixture
def webhook(api: Api, there: Receiver) -> Iterator[dict[str, Any]]:
    found = made(api, there.url)
    yield found
    api.call("DELETE", f"{WEBHOOKS}/{found['id']}")


def test_a_new_endpoint_shows_its_secret_this_once(api: Api, webhook: dict[str, Any]) -> None:
    assert webhook["id"] == webhook["webhookId"]
    assert webhook["id"].startswith("whk_")
    assert webhook["secret"].startswith("whsec_")
    assert webhook["status"] == "active"
    shown = data(api, "GET", f"/{webhook['id']}")
    assert shown == {key: value for key, value in webhook.items() if key != "secret"}
    listed = api.get(WEBHOOKS).json()
    assert shown in listed["data"]
    assert listed["meta"]["total"] == len(listed["data"])


def test_the_same_request_again_makes_no_second_endpoint_and_tells_no_secret(
    api: Api, there: Receiver
) -> None:
    before = api.get(WEBHOOKS).json()["meta"]["total"]
    body = {"url": there.url, "events": ["export.ready"]}
    first, second = (
        api.post(WEBHOOKS, json=body, headers={"Idempotency-Key": "one"}).json()["data"] for _ in range(2)
    )
    assert first.pop("secret").startswith("whsec_")
    assert first == second
    assert api.get(WEBHOOKS).json()["meta"]["total"] == before + 1
    data(api, "DELETE", f"/{first['id']}")


def test_a_complete_export_is_delivered_and_shown_in_the_log(
    api: Api, there: Receiver, webhook: dict[str, Any]
) -> None:
    job = api.complete()
    deliver(api)
    (got,) = there.got
    payload = standardwebhooks.Webhook(webhook["secret"]).verify(got.body, dict(got.headers))
    assert payload["data"]["exportId"] == job["jobId"]
    # The same links as the API shows, which are those that can be revoked together.
    for name in ("files", "rowCount", "bytes", "fileSize", "expiresAt"):
        assert [payload["data"][name]] == [
            [{**file, "url": file["url"].replace(api.url, "http://127.0.0.1:8000")} for file in job[name]]
            if name == "files"
            else job[name]
        ]
    (entry,) = data(api, "GET", f"/{webhook['id']}/deliveries")
    assert (entry["status"], entry["statusCode"], entry["attempts"]) == ("success", 200, 1)
    assert entry["payload"] == payload
    assert entry["log"][0]["response"] == "ok"
    assert entry["id"] == got.headers["webhook-id"]
    stats = data(api, "GET", f"/{webhook['id']}")["stats"]
    assert (stats["totalDeliveries"], stats["successfulDeliveries"]) == (1, 1)
    assert stats["lastDeliveryAt"] == entry["lastAttemptAt"]


def test_a_delivery_that_failed_is_retried_by_hand(
    api: Api, there: Receiver, webhook: dict[str, Any]
) -> None:
    there.reply = lambda _, n: (500, {}, b"broken") if n == 0 else (200, {}, b"")
    api.complete()
    deliver(api)
    (entry,) = data(api, "GET", f"/{webhook['id']}/deliveries?status=pending")
    assert (entry["lastError"], entry["attempts"]) == ("answered 500", 1)
    retried = data(api, "POST", f"/{webhook['id']}/deliveries/{entry['id']}/retry")
    assert (retried["id"], retried["status"], retried["attempts"]) == (entry["id"], "pending", 1)
    assert retried["nextAttemptAt"] < entry["nextAttemptAt"]
    deliver(api)
    (entry,) = data(api, "GET", f"/{webhook['id']}/deliveries?status=success")
    assert [attempt["statusCode"] for attempt in entry["log"]] == [500, 200]
    assert len(set(there.ids)) == 1


def test_a_test_event_tells_what_was_answered(api: Api, there: Receiver, webhook: dict[str, Any]) -> None:
    there.reply = lambda _, __: (418, {}, b"no coffee")
    result = data(api, "POST", f"/{webhook['id']}/test", json={"event": "export.failed"})
    assert (result["status"], result["statusCode"], result["response"]) == ("failed", 418, "no coffee")
    assert result["responseTime"] >= 0
    assert there.got[0].headers["webhook-id"] == result["deliveryId"]
    refusal = refused(api.post(f"{WEBHOOKS}/{webhook['id']}/test", json={"event": "export.unknown"}))
    assert refusal[:3] == (400, "VALIDATION_ERROR", "event")


def test_a_test_event_asked_for_twice_with_one_key_is_sent_once_and_holds_up_nobody(
    api: Api, there: Receiver, webhook: dict[str, Any]
) -> None:
    arrived, answer = threading.Event(), threading.Event()

    def slow(_: object, __: int) -> Any:
        arrived.set()
        assert answer.wait(20)
        return 200, {}, b""

    there.reply = slow

    def ask(_: int) -> Any:
        return data(
            api,
            "POST",
            f"/{webhook['id']}/test",
            json={"event": "export.ready"},
            headers={"Idempotency-Key": "test"},
        )

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, n) for n in range(2)]
        assert arrived.wait(20)
        api.post("/v1/analytics/export", json={}, headers={"Idempotency-Key": "other"})
        answer.set()
        results = [future.result() for future in asked]
    assert len({result["deliveryId"] for result in results}) == 1
    assert len(there.got) == 1


def test_an_endpoint_is_changed_disabled_and_enabled(
    api: Api, there: Receiver, webhook: dict[str, Any]
) -> None:
    path = f"/{webhook['id']}"
    changed = data(api, "PATCH", path, json={"events": ["export.failed"], "description": "ours"})
    assert (changed["events"], changed["description"]) == (["export.failed"], "ours")
    disabled = data(api, "PATCH", path, json={"status": "disabled"})
    assert (disabled["status"], disabled["statusReason"]) == ("disabled", "disabled by hand")
    assert data(api, "PATCH", path, json={"status": "active"})["statusReason"] is None


def test_a_rotated_secret_signs_beside_the_one_before(
    api: Api, there: Receiver, webhook: dict[str, Any]
) -> None:
    rotated = data(api, "POST", f"/{webhook['id']}/rotate-secret", headers={"Idempotency-Key": "rotate"})
    assert rotated["secret"] != webhook["secret"]
    again = data(api, "POST", f"/{webhook['id']}/rotate-secret", headers={"Idempotency-Key": "rotate"})
    assert again == {key: value for key, value in rotated.items() if key != "secret"}
    data(api, "POST", f"/{webhook['id']}/test", json={"event": "export.ready"})
    (got,) = there.got
    for secret in (rotated["secret"], webhook["secret"]):
        standardwebhooks.Webhook(secret).verify(got.body, dict(got.headers))


def test_a_removed_endpoint_is_gone_with_its_log(api: Api, there: Receiver) -> None:
    webhook_id = made(api, there.url)["id"]
    assert data(api, "DELETE", f"/{webhook_id}") == {"id": webhook_id, "deleted": True}
    for path in (f"/{webhook_id}", f"/{webhook_id}/deliveries"):
        assert refused(api.get(f"{WEBHOOKS}{path}"))[:2] == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"events": ["export.ready"]}, "url"),
        ({"url": "https://example.com"}, "events"),
        ({"url": "https://example.com", "events": []}, "events"),
        ({"url": "https://example.com", "events": ["export.other"]}, "events"),
        ({"url": "https://example.com", "events": "export.ready"}, "events"),
        ({"url": "https://example.com", "events": ["export.ready"], "secret": "x"}, "secret"),
        ({"url": "https://example.com", "events": ["export.ready"], "description": 7}, "description"),
        ({"url": "http://example.com", "events": ["export.ready"]}, "url"),
        ({"url": "https://user:pass@example.com", "events": ["export.ready"]}, "url"),
        ({"url": "https://0x7f.1/", "events": ["export.ready"]}, "url"),
        ({"url": "https://[::ffff:127.0.0.1]/", "events": ["export.ready"]}, "url"),
    ],
)
def test_a_wrong_endpoint_is_refused_with_its_field(api: Api, body: dict[str, Any], field: str) -> None:
    assert refused(api.post(WEBHOOKS, json=body))[:3] == (400, "VALIDATION_ERROR", field)


def test_it_needs_the_scope_of_webhooks(api: Api) -> None:
    key = api.new_key("exports:read", "exports:write")
    assert refused(api.get(WEBHOOKS, key=key))[:2] == (403, "FORBIDDEN")
    assert api.get(WEBHOOKS, key=api.new_key("webhooks")).status_code == 200


def test_the_log_is_read_by_pages(api: Api, webhook: dict[str, Any]) -> None:
    path = f"/{webhook['id']}"
    sent = [data(api, "POST", f"{path}/test", json={"event": "export.ready"})["deliveryId"] for _ in range(3)]
    first = api.get(f"{WEBHOOKS}{path}/deliveries?limit=2").json()
    assert ([entry["id"] for entry in first["data"]], first["meta"]["total"]) == (sent[:0:-1], 3)
    rest = api.get(f"{WEBHOOKS}{path}/deliveries?cursor={first['meta']['nextCursor']}").json()
    assert ([entry["id"] for entry in rest["data"]], rest["meta"]["nextCursor"]) == (sent[:1], None)
