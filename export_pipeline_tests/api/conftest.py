"""The API on a real server process's socket, its deployment at hand to land rows and to work on jobs."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn

from export_pipeline.api.app import create_app
from export_pipeline.api.server import server
from export_pipeline.days import midnight, utc_now
from export_pipeline.exports.service import run_job
from export_pipeline.ledger import Job, Ledger
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import land_rows
from export_pipeline_tests.rows import row

TIMEOUT = 60
ROWS = 40


@dataclass
class Api:
    """A running API and a key with the scopes of exports and webhooks."""

    url: str
    settings: Settings
    store: Store
    ledger: Ledger
    key: str
    yesterday: str
    session: requests.Session = field(default_factory=requests.Session)

    def call(
        self,
        method: str,
        path: str,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> requests.Response:
        """A request with a key; default: the one with the scopes of exports."""
        given = {"Authorization": f"Bearer {key or self.key}", **(headers or {})}
        return self.session.request(method, self.url + path, headers=given, timeout=TIMEOUT, **more)

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.call("GET", path, **more)

    def post(self, path: str, **more: Any) -> requests.Response:
        return self.call("POST", path, **more)

    def ask(self, **values: Any) -> str:
        """The id of a new job for the day that has rows."""
        answer = self.post(
            "/v1/analytics/export", json={"startDate": self.yesterday, "endDate": self.yesterday, **values}
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["data"]["jobId"])

    def work(self, job_id: str) -> Job:
        """Work on a job as Dagster's run does."""
        return run_job(self.settings, self.store, self.ledger, job_id, 1)

    def status(self, job_id: str) -> dict[str, Any]:
        answer = self.get(f"/v1/analytics/export/{job_id}")
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    def complete(self, **values: Any) -> dict[str, Any]:
        """The status of a job that was asked for and worked on."""
        job_id = self.ask(**values)
        self.work(job_id)
        return self.status(job_id)

    def new_key(self, *scopes: str) -> str:
        return self.ledger.keys.create(scopes, utc_now())[1]


def land_yesterday(store: Store, ledger: Ledger) -> str:
    day = datetime.now(UTC).date() - timedelta(days=1)
    noon = midnight(day) + timedelta(hours=12)
    for data_type in ("events", "ads"):
        rows = [
            row(n, data_type, timestamp=noon + timedelta(seconds=n), receivedAt=noon + timedelta(seconds=n))
            for n in range(ROWS)
        ]
        land_rows(store, ledger, rows, data_type)
    return str(day)


Serving = Callable[..., Api]


@pytest.fixture(scope="session")
def serving() -> Iterator[Serving]:
    """Start an API on a state root; its settings can be given as environment variables."""
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def serve(home: Path, **settings_: str) -> Api:
        given = {"smtp_host": "localhost", **settings_}  # where nothing listens for mail
        environment = {f"EXPORT_PIPELINE_{name.upper()}": value for name, value in given.items()}
        settings = load({"EXPORT_PIPELINE_HOME": str(home), "EXPORT_PIPELINE_WORKERS": "2", **environment})
        store, ledger = Store(settings), Ledger(settings)
        day = land_yesterday(store, ledger)
        listening = socket.create_server(("127.0.0.1", 0))
        running = server(create_app(settings), ending_seconds=1)
        thread = threading.Thread(target=running.run, args=([listening],), daemon=True)
        thread.start()
        while not running.started:
            time.sleep(0.01)
        servers.append((running, thread))
        key = ledger.keys.create(["exports:read", "exports:write", "webhooks"], utc_now())[1]
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        return Api(url, settings, store, ledger, key, day)

    yield serve
    for running, thread in servers:
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def api(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Api:
    """One API for all tests that only look, ask and download; jobs are many a day here."""
    return serving(tmp_path_factory.mktemp("api") / "home", jobs_per_day="100000", rate_limit="1000000")


@pytest.fixture(scope="module")
def officer(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Api:
    """An API for the tests of a module, used with a key for privacy alone."""
    api = serving(tmp_path_factory.mktemp("officer") / "home")
    api.key = api.new_key("privacy")
    return api
