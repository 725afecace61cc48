"""The API beside trouble: a locked ledger, a death in the middle of a request, clients that leave."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import requests

from export_pipeline.days import utc_now
from export_pipeline.ledger import Ledger
from export_pipeline.settings import load
from export_pipeline_tests.api.conftest import Api, Serving
from export_pipeline_tests.api.test_exports import refused

LOCKED_SECONDS = 2.0


@contextmanager
def locked(api: Api) -> Iterator[None]:
    connection = sqlite3.connect(api.settings.ledger_file, isolation_level=None, check_same_thread=False)
    connection.execute("begin exclusive")

    def release() -> None:
        time.sleep(LOCKED_SECONDS)
        connection.execute("rollback")

    thread = threading.Thread(target=release)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        connection.close()


def test_while_the_ledger_is_locked_reading_goes_on_and_writing_waits(api: Api) -> None:
    job_id = api.ask()
    with locked(api):
        began = time.monotonic()
        assert api.status(job_id)["status"] == "queued"
        assert time.monotonic() - began < LOCKED_SECONDS / 2
        api.ask()
        assert time.monotonic() - began > LOCKED_SECONDS / 2


def test_a_ledger_that_cannot_be_reached_is_told_as_503(serving: Serving, tmp_path: Path) -> None:
    api = serving(tmp_path / "home")
    with sqlite3.connect(api.settings.ledger_file) as connection:
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
    for _ in range(100):
        if api.ledger.links.downloads(status["jobId"])[0]:
            break
        time.sleep(0.05)
    assert api.ledger.links.downloads(status["jobId"])[0] == 1


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
            yield process, process.stdout.readline().split()[2].rstrip(";")
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
