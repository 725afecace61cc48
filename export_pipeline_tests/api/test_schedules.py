"""Scheduled exports are made, changed and removed over HTTP, and what they make is delivered and signed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import standardwebhooks

from export_pipeline.days import utc_now
from export_pipeline.delivery.outbox import Courier
from export_pipeline.ledger.posting import NewMessage
from export_pipeline_tests.api.conftest import ROWS, TIMEOUT, Api, Serving
from export_pipeline_tests.api.test_exports import refused
from export_pipeline_tests.delivery.receivers import Receiver, receiver

SCHEDULES = "/v1/exports/schedules"
MAIL = {"frequency": "daily", "delivery": {"email": "data@example.com"}}


@pytest.fixture(scope="module")
def there() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture(scope="module")
def api(serving: Serving, there: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Api:
    return serving(
        tmp_path_factory.mktemp("schedules") / "home",
        rate_limit="100000",
        jobs_per_day="1",
        close_delay_minutes="0",
        export_hour="0",
        webhook_allow=there.url.removesuffix("/hook"),
    )


def made(api: Api, **values: Any) -> dict[str, Any]:
    answer = api.post(SCHEDULES, json={**MAIL, **values})
    assert answer.status_code == 201, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def data(api: Api, method: str, path: str, status: int = 200, **more: Any) -> Any:
    answer = api.call(method, f"{SCHEDULES}{path}", **more)
    assert answer.status_code == status, answer.text
    return answer.json()["data"]


def test_a_daily_one_to_a_url_delivers_a_signed_message_with_links_that_work(
    api: Api, there: Receiver
) -> None:
    schedule = made(api, delivery={"url": there.url}, dataTypes=["events", "ads"])
    job_id = data(api, "POST", f"/{schedule['id']}/run", 202)["exportId"]
    assert job_id == f"exp_daily_{utc_now():%Y%m%d}_{schedule['id']}"
    api.work(job_id)
    settings = api.settings.model_copy(update={"public_url": api.url})
    Courier(settings, api.ledger).deliver_due()
    (got,) = there.got
    standardwebhooks.Webhook(schedule["secret"]).verify(got.body, dict(got.headers))
    message = json.loads(got.body)
    assert message["webhookId"] == schedule["delivery"]["webhookId"]
    told = message["data"]
    assert (message["event"], told["exportId"], told["rowCount"]) == ("export.ready", job_id, 2 * ROWS)
    assert told["dateRange"] == {"start": api.yesterday, "end": api.yesterday}
    manifest = requests.get(told["manifestUrl"], timeout=TIMEOUT)
    assert (manifest.json()["kind"], manifest.json()["exportId"]) == ("scheduled", job_id)
    listed = api.get("/v1/analytics/exports").json()["data"]
    assert job_id in [each["jobId"] for each in listed]
    assert api.status(job_id)["status"] == "complete"
    assert data(api, "GET", f"/{schedule['id']}")["lastExportId"] == job_id
    assert data(api, "DELETE", f"/{schedule['id']}") == {"id": schedule["id"], "deleted": True}
    assert api.status(job_id)["status"] == "complete"


def test_a_new_one_shows_all_there_is_but_users_and_its_secret_once(api: Api, there: Receiver) -> None:
    schedule = made(api, delivery={"url": there.url}, filters={"userIds": ["user_00000001"]})
    assert schedule["id"].startswith("sch_")
    assert schedule["filters"] == {"contentIds": [], "eventTypes": [], "userCount": 1}
    assert (schedule["mode"], schedule["enabled"], schedule["lastExportId"]) == ("full", True, None)
    shown = data(api, "GET", f"/{schedule['id']}")
    assert shown == {name: value for name, value in schedule.items() if name != "secret"}
    listed = api.get(SCHEDULES).json()
    assert shown in listed["data"]
    assert listed["meta"]["total"] == len(listed["data"])


def test_the_same_request_again_makes_no_second_one_and_tells_no_secret(api: Api, there: Receiver) -> None:
    body = {"frequency": "weekly", "delivery": {"url": there.url}}
    before = api.ledger.webhooks.list()[2]
    first, second = (
        api.post(SCHEDULES, json=body, headers={"Idempotency-Key": "schedule"}).json()["data"]
        for _ in range(2)
    )
    assert second == {name: value for name, value in first.items() if name != "secret"}
    assert api.ledger.webhooks.list()[2] == before + 1


def test_one_is_changed_and_run(api: Api, there: Receiver) -> None:
    path = f"/{made(api)['id']}"
    changed = data(api, "PATCH", path, json={"enabled": False, "frequency": "weekly", "format": "csv"})
    assert (changed["enabled"], changed["nextRunAt"]) == (False, None)
    assert (changed["frequency"], changed["format"]) == ("weekly", "csv")
    moved = data(api, "PATCH", path, json={"delivery": {"url": there.url}})
    assert moved["secret"].startswith("whsec_")
    queued = data(api, "POST", f"{path}/run", 202, headers={"Idempotency-Key": "run"})
    assert queued["exportId"].startswith("exp_weekly_")
    assert data(api, "POST", f"{path}/run", 202, headers={"Idempotency-Key": "run"}) == queued
    assert api.call("POST", f"{SCHEDULES}{path}/run").status_code == 409
    webhook_id = moved["delivery"]["webhookId"]
    assert api.call("DELETE", f"/v1/webhooks/{webhook_id}").status_code == 409
    data(api, "DELETE", path)
    assert api.call("DELETE", f"/v1/webhooks/{webhook_id}").status_code == 200
    assert api.call("GET", f"{SCHEDULES}{path}").status_code == 404


def test_an_endpoint_made_for_it_moves_with_its_url_and_keeps_its_log(api: Api, there: Receiver) -> None:
    schedule = made(api, delivery={"url": there.url})
    path, webhook_id = f"/{schedule['id']}", schedule["delivery"]["webhookId"]
    count = api.ledger.webhooks.list()[2]
    same = data(api, "PATCH", path, json={"delivery": {"url": there.url}})
    assert (same["delivery"]["webhookId"], "secret" in same) == (webhook_id, False)
    api.ledger.messages.send_all([NewMessage("user.erased", {}, webhook_id)], utc_now())
    moved = data(api, "PATCH", path, json={"delivery": {"url": f"{there.url}/moved"}})
    assert moved["delivery"]["webhookId"] == webhook_id
    assert moved["secret"] not in ("", schedule["secret"])
    assert api.ledger.webhooks.get(webhook_id).url == f"{there.url}/moved"
    assert (api.ledger.webhooks.list()[2], api.ledger.messages.list(webhook_id)[2]) == (count, 1)
    used = made(api, delivery={"webhookId": webhook_id})
    other = data(api, "PATCH", path, json={"delivery": {"url": there.url}})
    assert other["delivery"]["webhookId"] != webhook_id
    assert data(api, "GET", f"/{used['id']}")["delivery"]["webhookId"] == webhook_id


def test_an_endpoint_of_somebodys_own_stays_where_it_is(api: Api, there: Receiver) -> None:
    own, _ = api.ledger.webhooks.create(there.url, ["export.ready"], "", utc_now())
    schedule = made(api, delivery={"webhookId": own.id})
    moved = data(api, "PATCH", f"/{schedule['id']}", json={"delivery": {"url": f"{there.url}/moved"}})
    assert moved["delivery"]["webhookId"] != own.id
    assert api.ledger.webhooks.get(own.id).url == there.url


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"frequency": "hourly"}, "frequency"),
        ({"mode": "all"}, "mode"),
        ({"delivery": {"url": "https://169.254.169.254/"}}, "delivery.url"),
        ({"delivery": {"email": "nobody"}}, "delivery.email"),
        ({"filters": {"userIds": [7]}}, "filters.userIds"),
        ({"x": 1}, "x"),
    ],
)
def test_a_wrong_one_is_refused_naming_the_field(api: Api, values: dict[str, Any], field: str) -> None:
    answer = api.post(SCHEDULES, json={**MAIL, **values})
    assert refused(answer) == (400, "VALIDATION_ERROR", field)


def test_e_mail_is_refused_where_there_is_no_mail_server(serving: Serving, tmp_path: Path) -> None:
    api = serving(tmp_path / "home", smtp_host="")
    assert refused(api.post(SCHEDULES, json=MAIL)) == (400, "VALIDATION_ERROR", "delivery.email")
    to_a_url = {"frequency": "daily", "delivery": {"url": "https://example.com/hook"}}
    schedule = api.post(SCHEDULES, json=to_a_url).json()["data"]
    moved = api.call("PATCH", f"{SCHEDULES}/{schedule['id']}", json={"delivery": MAIL["delivery"]})
    assert refused(moved) == (400, "VALIDATION_ERROR", "delivery.email")
    assert "EXPORT_PIPELINE_SMTP_HOST names no mail server" in moved.json()["error"]["message"]
    assert data(api, "GET", f"/{schedule['id']}")["delivery"] == schedule["delivery"]


def test_a_key_that_only_reads_makes_none(api: Api) -> None:
    key = api.new_key("exports:read")
    assert api.get(SCHEDULES, key=key).status_code == 200
    assert refused(api.post(SCHEDULES, json=MAIL, key=key)) == (403, "FORBIDDEN", "scope")
