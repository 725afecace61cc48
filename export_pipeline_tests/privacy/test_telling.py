"""Who got an export is told when a person is erased from it, once, with the files and ids to act on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from export_pipeline.days import utc_now
from export_pipeline.delivery.outbox import Courier
from export_pipeline.ledger.posting import EXPORT_READY, EXPORT_RESTATED, USER_ERASED
from export_pipeline.privacy.erasing import erase_now
from export_pipeline.privacy.requests import request_erasures
from export_pipeline.privacy.restating import rewritten
from export_pipeline.privacy.telling import tell
from export_pipeline_tests.api.conftest import ROWS, Api, Serving, serving
from export_pipeline_tests.delivery.receivers import Receiver, receiver

__all__ = ["serving"]

USER, USERS = "user_00000001", 5


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def api(serving: Serving, there: Receiver, tmp_path: Path) -> Api:
    return serving(tmp_path / "home", webhook_allow=there.url.removesuffix("/hook"))


def deliver(api: Api, there: Receiver) -> list[dict[str, Any]]:
    """What a pass delivers."""
    there.got.clear()
    settings = api.settings.model_copy(update={"public_url": api.url})
    Courier(settings, api.ledger).deliver_due()
    return [json.loads(got.body) for got in there.got]


def erase(api: Api) -> str:
    """Erase the person; the id of the request."""
    (request,) = erase_now(
        api.settings,
        api.store,
        api.ledger,
        lambda: request_erasures(api.ledger, [USER], now=utc_now(), created_by="command"),
    )
    return request.id


def test_who_got_the_export_is_told_with_the_next_version_and_the_removed_events(
    api: Api, there: Receiver
) -> None:
    events = [EXPORT_READY, EXPORT_RESTATED, USER_ERASED]
    api.ledger.webhooks.create(there.url, events, "", utc_now())
    job = api.complete()
    (ready,) = deliver(api, there)
    late = api.ledger.webhooks.create(there.url, events, "", utc_now())[0]
    request_id = erase(api)
    restated, erased = sorted(deliver(api, there), key=lambda message: str(message["event"]))
    assert (restated["event"], erased["event"]) == (EXPORT_RESTATED, USER_ERASED)
    assert late.id not in (restated["webhookId"], erased["webhookId"])
    data = restated["data"]
    gone = ROWS // USERS
    assert (data["exportId"], data["version"], data["replaces"], data["reason"]) == (
        job["jobId"], 2, 1, "erasure",
    )  # fmt: skip
    assert (data["rowsAdded"], data["rowsRemoved"], data["rowCount"]) == (0, gone, ROWS - gone)
    assert data["files"][0]["sha256"] != ready["data"]["files"][0]["sha256"]
    assert requests.get(data["downloadUrl"], timeout=60).status_code == 200
    assert erased["data"]["requestIds"] == [request_id]
    assert erased["data"]["exports"] == [{"exportId": job["jobId"], "version": 2}]
    listed = requests.get(erased["data"]["removedEventsUrl"], timeout=60)
    assert listed.status_code == 200
    removed = [json.loads(line) for line in listed.text.splitlines()]
    assert len(removed[0]["eventIds"]) == gone
    assert USER not in listed.text + json.dumps([restated, erased])
    changed = erased["data"]["removedEventsUrl"].replace("signature=", "signature=x")
    assert requests.get(changed, timeout=60).status_code == 403


def test_an_endpoint_that_wants_only_new_exports_is_told_of_nothing_else(api: Api, there: Receiver) -> None:
    api.ledger.webhooks.create(there.url, [EXPORT_READY], "", utc_now())
    api.complete()
    assert len(deliver(api, there)) == 1
    erase(api)
    assert deliver(api, there) == []


def test_a_step_that_is_taken_again_tells_nobody_twice(api: Api, there: Receiver) -> None:
    api.ledger.webhooks.create(there.url, [EXPORT_READY, EXPORT_RESTATED, USER_ERASED], "", utc_now())
    api.complete()
    deliver(api, there)
    request_id = erase(api)
    exports = rewritten(api.ledger, request_id)
    assert exports
    assert tell(api.ledger, request_id, [request_id], exports, utc_now()) == 0
    assert len(deliver(api, there)) == 2
