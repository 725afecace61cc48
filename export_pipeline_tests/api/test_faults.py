"""The API beside trouble: a locked ledger, a death in the middle of a request, clients that leave."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from export_pipeline.databases import embedded
from export_pipeline.days import utc_now
from export_pipeline.ledger import Ledger
from export_pipeline.settings import load
from export_pipeline_tests.api.conftest import Api, Serving
from export_pipeline_tests.api.test_exports import EXPORT, refused
from export_pipeline_tests.conditions import until
from export_pipeline_tests.postgres import Server

LOCKED_SECONDS = 10.0
HOLDER = """
import sqlite3, sys, time
ledger = sqlite3.connect(sys.argv[1], isolation_level=None)
ledger.execute("begin exclusive")
print(flush=True)
time.sleep(float(sys.argv[2]))
ledger.execute("rollback")
"""


@contextmanager
def locked(api: Api, seconds: float) -> Iterator[None]:
    """Another process holds a write transaction on the ledger, for so long, and no longer than the block."""
    arguments = [sys.executable, "-c", HOLDER, str(api.settings.root / "ledger.db"), str(seconds)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield
        holder.kill()


def test_while_the_ledger_is_locked_for_10_s_reading_goes_on_writing_waits_and_nothing_is_lost(
    api: Api,
) -> None:
    complete, waiting, unwanted, begun = api.complete(), api.ask(), api.ask(), api.ask()
    body = {"startDate": api.yesterday, "endDate": api.yesterday}

    def ask(number: int) -> requests.Response:
        return api.post(EXPORT, json=body, headers={"Idempotency-Key": f"locked-{number}"})

    with ThreadPoolExecutor(8) as callers, locked(api, LOCKED_SECONDS):
        began = time.monotonic()
        asked = [callers.submit(ask, number) for number in range(4)]
        cancelled = callers.submit(api.call, "DELETE", f"{EXPORT}/{unwanted}")
        downloaded = callers.submit(requests.get, complete["downloadUrl"], timeout=60)
        worked = callers.submit(api.work, begun)
        assert api.status(waiting)["status"] == "queued"
        assert time.monotonic() - began < LOCKED_SECONDS / 2
        assert [answer.result().status_code for answer in asked] == [202] * 4
        assert time.monotonic() - began > LOCKED_SECONDS * 0.9
        assert cancelled.result().status_code == 200
        assert len(downloaded.result().content) == complete["bytes"]
        assert worked.result().state == "complete"
    ids = [answer.result().json()["data"]["jobId"] for answer in asked]
    assert [ask(number).json()["data"]["jobId"] for number in range(4)] == ids
    assert [api.status(job_id)["status"] for job_id in ids] == ["queued"] * 4
    assert [api.status(job_id)["status"] for job_id in (unwanted, begun)] == ["cancelled", "complete"]


def test_a_ledger_locked_for_longer_than_calls_wait_is_told_as_503(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "BUSY_SECONDS", 0.2)
    api = serving(tmp_path / "home")
    body = {"startDate": api.yesterday, "endDate": api.yesterday}
    with locked(api, LOCKED_SECONDS):
        answer = api.post(EXPORT, json=body)
        assert refused(answer)[:2] == (503, "SERVICE_UNAVAILABLE")
        assert int(answer.headers["Retry-After"]) > 0
        assert api.get("/v1/analytics/exports").status_code == 200
    assert api.post(EXPORT, json=body).status_code == 202
    assert api.get("/v1/analytics/exports").json()["meta"]["total"] == 1


def test_a_ledger_that_cannot_be_reached_is_told_as_503(serving: Serving, tmp_path: Path) -> None:
    api = serving(tmp_path / "home")
    with sqlite3.connect(api.settings.root / "ledger.db") as connection:
        connection.execute("alter table jobs rename to elsewhere")
    connection.close()
    answer = api.post("/v1/analytics/export", json={"startDate": api.yesterday, "endDate": api.yesterday})
    assert refused(answer)[:2] == (503, "SERVICE_UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0
    ready = api.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["ledger"]) == (503, "failed")
    assert api.get("/healthz").status_code == 200


def test_a_client_that_leaves_is_logged_with_the_bytes_it_got(api: Api) -> None:
    status = api.complete()
    url = urlsplit(status["downloadUrl"])
    with socket.create_connection((url.hostname or "", url.port or 0)) as client:
        client.sendall(f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.recv(10)
    until(lambda: api.ledger.links.downloads(status["jobId"])[0] == 1)


def test_a_request_made_again_after_the_server_was_killed_makes_one_job(api: Api, tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    settings = load({"EXPORT_PIPELINE_HOME": home})
    key = Ledger(settings).keys.create(["exports:write"], utc_now())[1]
    environment = {**os.environ, "EXPORT_PIPELINE_HOME": home}
    body = {"startDate": api.yesterday, "endDate": api.yesterday}
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "once"}

    @contextmanager
    def serving(**more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "export_pipeline", "serve", "--port", "0"],
            env=environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().split()[1].partition("/portal")[0]
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    with serving(EXPORT_PIPELINE_FAULT_POINT="request.made") as (process, url):
        with suppress(requests.ConnectionError):
            requests.post(f"{url}/v1/analytics/export", json=body, headers=headers, timeout=60)
        assert process.wait(30) == -signal.SIGKILL
    assert Ledger(settings).jobs.list(utc_now())[2] == 1
    with serving() as (_, url):
        answer = requests.post(f"{url}/v1/analytics/export", json=body, headers=headers, timeout=60)
        assert answer.status_code == 202
    found, _, total = Ledger(settings).jobs.list(utc_now())
    assert (total, found[0].id) == (1, answer.json()["data"]["jobId"])


@pytest.mark.system
def test_a_database_server_that_goes_away_is_told_as_503_and_found_again(
    serving: Serving, tmp_path: Path, database: str, postgres_server: Server
) -> None:
    api = serving(tmp_path / "home", database=database)
    body = {"startDate": api.yesterday, "endDate": api.yesterday}
    assert api.post(EXPORT, json=body).status_code == 202
    postgres_server.stop()
    try:
        for answer in (api.post(EXPORT, json=body), api.get("/v1/analytics/exports")):
            assert refused(answer)[:2] == (503, "SERVICE_UNAVAILABLE")
            assert int(answer.headers["Retry-After"]) > 0
            assert "127.0.0.1" not in answer.text
        ready = api.get("/readyz")
        assert (ready.status_code, set(ready.json()["checks"].values())) == (503, {"failed", "ok"})
        assert api.get("/healthz").status_code == 200
    finally:
        postgres_server.start()
    assert api.post(EXPORT, json=body).status_code == 202
    assert api.get("/v1/analytics/exports").json()["meta"]["total"] == 2
    assert api.get("/readyz").status_code == 200
