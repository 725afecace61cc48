"""One story on every stack: taken in, exported, delivered, late, erased, expired; on the embedded default,
and on S3, PostgreSQL and Dask together."""

import gzip
import hashlib
import hmac
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from export_pipeline.api.app import create_app
from export_pipeline.api.server import server
from export_pipeline.days import utc_now
from export_pipeline.delivery.outbox import Courier
from export_pipeline.exports import export_days, live_daily, verify
from export_pipeline.exports.scheduled import queue_due
from export_pipeline.exports.service import run_job
from export_pipeline.ingest import ingest_landing, waiting_days
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.posting import EVENTS
from export_pipeline.operations.delivered import restate, stale_deliveries
from export_pipeline.operations.restatement import stale_exports
from export_pipeline.privacy import certificates
from export_pipeline.privacy.erasing import STEPS, take_step
from export_pipeline.retention import retain
from export_pipeline.settings import load, variable
from export_pipeline.store import Store
from export_pipeline_tests.delivery.receivers import Received, Receiver, receiver
from export_pipeline_tests.integration.contents import held
from export_pipeline_tests.privacy.scenario import ADA, ADAS_PHONE, BOB, EVE, EVES_PHONE, SHARED, events, put

SCOPES = ("exports:read", "exports:write", "webhooks", "privacy")
TYPES = ("events", "quality", "ads")
ROWS = 9
"""Rows of a batch, a day and a type."""
GONE = (ADA, ADAS_PHONE, EVE, EVES_PHONE)
THEIRS = 5
"""Of these rows the ones of who is erased, the contested device included."""
TIMEOUT = 60


class Customer:
    """Who asks by the API, is told by webhook, and downloads what the links lead to."""

    def __init__(self, url: str, key: str, told: Receiver) -> None:
        self._url, self._key, self._told = url, key, told
        self._secret, self._seen = "", 0

    def call(self, method: str, path: str, **body: Any) -> Any:
        answer = requests.request(
            method,
            f"{self._url}/v1{path}",
            json=body or None,
            headers={"Authorization": f"Bearer {self._key}"},
            timeout=TIMEOUT,
        )
        assert answer.ok, answer.text
        return answer.json()["data"]

    def subscribe(self) -> str:
        made = self.call("POST", "/webhooks", url=self._told.url, events=list(EVENTS))
        self._secret = made["secret"]
        return str(made["id"])

    def news(self) -> dict[str, list[Any]]:
        """What came since the last look, by event; every request is signed, and none comes twice."""
        new, self._seen = self._told.got[self._seen :], len(self._told.got)
        assert len(self._told.ids) == len(set(self._told.ids))
        found: dict[str, list[Any]] = {}
        for request in new:
            self._check(request)
            message = json.loads(request.body)
            found.setdefault(message["event"], []).append(message["data"])
        return found

    def _check(self, request: Received) -> None:
        signed = f"{request.headers['x-shortform-timestamp']}.".encode() + request.body
        expected = hmac.new(self._secret.encode(), signed, hashlib.sha256).hexdigest()
        assert request.headers["x-shortform-signature"] == f"sha256={expected}"

    def download(self, data: Any) -> list[dict[str, Any]]:
        """The rows of an export that is told of; the one file, and each file against the manifest."""
        for file in data["files"]:
            content = requests.get(file["url"], timeout=TIMEOUT).content
            assert hashlib.sha256(content).hexdigest() == file["sha256"]
        answer = requests.get(data["downloadUrl"], timeout=TIMEOUT)
        assert answer.ok, answer.text
        lines = gzip.decompress(answer.content).splitlines()
        assert len(lines) == data["rowCount"]
        return [json.loads(line) for line in lines]


class Story:
    """A deployment, its operator's clock, and what its runs do."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.settings = load(environment)
        self.store, self.ledger = Store(self.settings), Ledger(self.settings)
        self.now = utc_now()
        yesterday = self.now.date() - timedelta(days=1)
        self.days = [yesterday - timedelta(days=1), yesterday]

    def clock(self) -> datetime:
        return self.now

    def later(self, **by: float) -> None:
        self.now += timedelta(**by)

    def waiting(self, name: str) -> Any:
        return waiting_days(self.settings, self.ledger, name)

    def take_in(self, batch: str, days: list[date]) -> Counter[str]:
        """What became of a batch of every type."""
        for data_type in TYPES:
            for day in days:
                put(self.settings, f"{batch}-{day}.jsonl.gz", events(data_type, day, batch), data_type)
        counts = ingest_landing(self.settings, self.store, self.ledger, now=self.now).to_json()["dataTypes"]
        return sum((Counter(of) for of in counts.values()), Counter())

    def export_daily(self, data_type: str, format_: str, days: list[date]) -> None:
        made = export_days(
            data_type, format_, days, settings=self.settings, store=self.store, ledger=self.ledger,
            now=self.now, waiting=self.waiting,
        )  # fmt: skip
        for day, export in made:
            assert not isinstance(export, Exception), f"{day}: {export!r}"

    def live(self, data_type: str, format_: str) -> list[tuple[int, int]]:
        """The version and the rows of each day's export."""
        found = [live_daily(self.settings, data_type, format_, day) for day in self.days]
        return [(export.manifest.version, export.rows) for export in found if export]

    def work(self) -> None:
        """Whatever was asked for, and whatever is due to be told."""
        queue_due(self.settings, self.store, self.ledger, self.now, self.waiting)
        for job in self.ledger.jobs.open(self.now):
            run_job(self.settings, self.store, self.ledger, job.id, 1, clock=self.clock, waiting=self.waiting)
        Courier(self.settings, self.ledger, clock=self.clock).deliver_due()

    def restate(self) -> None:
        for stale in list(stale_exports(self.settings, self.ledger, self.now)):
            assert stale.due_at <= self.now
            self.export_daily(stale.data_type, stale.format, [stale.day])
        for delivered in list(stale_deliveries(self.settings, self.ledger, self.now)):
            assert delivered.due_at <= self.now
            restate(self.settings, self.store, self.ledger, delivered.job_id, now=self.now)
        self.work()

    def erase(self, request_id: str) -> None:
        for name in STEPS:
            take_step(self.settings, self.store, self.ledger, request_id, name, self.now)
        self.work()

    def retain(self) -> dict[str, int]:
        """The files that went, by what they were."""
        removed = retain(self.settings, self.store, self.ledger, self.now)
        return {what: item.files for what, item in removed.items() if item.files}


@pytest.fixture
def told() -> Iterator[Receiver]:
    with receiver() as there:
        yield there


@pytest.fixture
def api() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def story(environment: dict[str, str], told: Receiver, api: socket.socket) -> Story:
    return Story(
        environment
        | {
            variable("webhook_allow"): told.url.removesuffix("/hook"),
            variable("public_url"): f"http://127.0.0.1:{api.getsockname()[1]}",
            variable("close_delay_minutes"): "0",
            variable("export_hour"): "0",
        }
    )


@pytest.fixture
def customer(story: Story, told: Receiver, api: socket.socket) -> Iterator[Customer]:
    running = server(create_app(story.settings), ending_seconds=1)
    thread = threading.Thread(target=running.run, args=([api],), daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield Customer(story.settings.public_url, story.ledger.keys.create(SCOPES, story.now)[1], told)
    running.should_exit = True
    thread.join()


@pytest.mark.backends("s3+postgres+dask")
def test_events_are_taken_in_exported_delivered_restated_erased_and_expire(
    story: Story, customer: Customer, tmp_path: Path
) -> None:
    first, last = map(str, story.days)

    # Events and who has which device come in; what comes twice is taken once.
    links = [(ADA, ADAS_PHONE), (ADA, SHARED), (BOB, SHARED), (EVE, EVES_PHONE)]
    linked = ({"userId": u, "deviceId": d, "linkedAt": f"{first}T00:00:00Z"} for u, d in links)
    put(story.settings, "links.jsonl", linked, "users/devices")
    taken = story.take_in("a", story.days)
    assert (taken["accepted"], taken["received"]) == (2 * 3 * ROWS, 2 * 3 * ROWS)
    assert story.take_in("a", story.days)["duplicate"] == 2 * 3 * ROWS

    # Every day is exported, each format as its own.
    for data_type, format_ in (("events", "jsonl"), ("events", "csv"), ("ads", "jsonl")):
        story.export_daily(data_type, format_, story.days)
        assert story.live(data_type, format_) == [(1, ROWS), (1, ROWS)]
    assert verify(story.settings.exports).problems == ()

    # A schedule and a request by the API reach the customer, who is told of each once and downloads it.
    webhook = customer.subscribe()
    customer.call(
        "POST", "/exports/schedules", frequency="daily", dataTypes=["events"], delivery={"webhookId": webhook}
    )
    asked = customer.call(
        "POST", "/analytics/export", startDate=first, endDate=last, dataTypes=["events", "ads"]
    )["jobId"]
    story.work()
    news = customer.news()
    assert list(news) == ["export.ready"]
    ready = {data["exportId"]: data for data in news["export.ready"]}
    assert len(ready) == 2
    status = customer.call("GET", f"/analytics/export/{asked}")
    assert (status["status"], status["rowCount"]) == ("complete", 4 * ROWS)
    assert len(customer.download(ready.pop(asked))) == 4 * ROWS
    [(scheduled, data)] = ready.items()
    ids = [row["eventId"] for row in customer.download(data)]
    assert sorted(ids) == [f"events-{last}-a-{number}" for number in range(ROWS)]

    # Events come late: the day's exports and what was delivered get a second version, and it is told.
    story.later(minutes=1)
    assert story.take_in("late", story.days[1:])["accepted"] == 3 * ROWS
    story.later(hours=2)
    story.restate()
    assert story.live("events", "csv") == [(1, ROWS), (2, 2 * ROWS)]
    assert story.live("ads", "jsonl") == [(1, ROWS), (2, 2 * ROWS)]
    [restated] = customer.news()["export.restated"]
    assert (restated["exportId"], restated["version"], restated["rowsAdded"]) == (scheduled, 2, ROWS)
    status = customer.call("GET", f"/analytics/export/{scheduled}")
    assert len(customer.download(status)) == 2 * ROWS

    # Two people are erased: no byte of them is anywhere, what others did is all there, and it is proven.
    assert held(story.settings, GONE, tmp_path / "before")
    requests_ = customer.call("POST", "/users/erasures", userIds=[ADA, EVE])["requests"]
    story.later(minutes=1)
    story.erase(requests_[0]["requestId"])
    assert held(story.settings, GONE, tmp_path / "after") == []
    trusted = certificates.deployment_key(story.settings)
    for request in requests_:
        done = customer.call("GET", f"/users/erasures/{request['requestId']}")
        assert done["status"] == "complete"
        content = certificates.path_of(story.settings, request["requestId"]).read_bytes()
        assert certificates.problems(content, trusted) == []
        assert json.loads(content)["matchesLeft"] == 0
    assert story.live("events", "csv") == [(2, ROWS - THEIRS), (3, 2 * (ROWS - THEIRS))]
    assert verify(story.settings.exports).problems == ()
    news = customer.news()
    assert len(news["user.erased"]) >= 1
    assert {data["reason"] for data in news.get("export.restated", [])} <= {"erasure"}
    status = customer.call("GET", f"/analytics/export/{scheduled}")
    assert len(customer.download(status)) == 2 * (ROWS - THEIRS)
    again = story.take_in("again", story.days[1:])
    assert (again["accepted"], again["suppressed"]) == (3 * (ROWS - THEIRS), 3 * THEIRS)

    # In time everything goes: exports after a week, events after three months, certificates never.
    story.later(days=8)
    gone = story.retain()
    assert gone["dailyExports"] > 0
    assert gone["exports"] > 0
    assert verify(story.settings.exports).exports == 0
    assert customer.call("GET", f"/analytics/export/{asked}")["status"] == "expired"
    story.later(days=90)
    story.retain()
    assert [story.store.files(table) for table in ("engagement_events", "quality_events", "ad_events")] == [
        [],
        [],
        [],
    ]
    assert certificates.path_of(story.settings, requests_[0]["requestId"]).exists()
