"""The API: status polls of many clients beside an export being made, and a large file downloaded.

Clients are processes of their own and do as little as they can: they share the cores with the server.
"""

import asyncio
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from statistics import median, quantiles
from threading import Event
from urllib.parse import urlsplit

from benchmarks.inputs import Input, deployment, many_days, sampled_day
from benchmarks.measuring import measure
from benchmarks.plan import Plan
from benchmarks.report import Section, at_most, megabytes
from benchmarks.serving import Server, serving
from export_pipeline.days import utc_now
from export_pipeline.errors import Conflict
from export_pipeline.exports.service import run_job
from export_pipeline.ledger import Ledger
from export_pipeline.store import Store

_CLIENTS = 100
_WANTED_P99_MS = 1000
_WANTED_MB = 50
_BLOCK_BYTES = 1 << 20
_LOOK_SECONDS = 0.02


def run(plan: Plan) -> Iterator[Section]:
    """Polls, then downloads."""
    base = sampled_day(plan.inputs, plan.small_rows)
    end = utc_now().date() - timedelta(days=10)
    yield _polled(plan, many_days(plan.inputs, base, plan.backfill_days, plan.rows_a_day, end))
    moved = many_days(plan.inputs, sampled_day(plan.inputs, plan.rows), 1, plan.rows, end)
    yield _downloaded(plan, moved)


def _polled(plan: Plan, given: Input) -> Section:
    """Each client asks for the status of a job of its own, again and again, while the jobs are worked on."""
    begin = given.end - timedelta(days=given.days - 1)
    with serving(given.home) as server:
        jobs = [_asked(server, begin, given.end) for _ in range(_CLIENTS)]
        known = {"seconds": plan.poll_seconds}
        try:
            with ThreadPoolExecutor(1) as beside:
                working = beside.submit(measure, work, home=str(given.home), jobs=jobs, **known)
                while not _any_begun(server, jobs):
                    time.sleep(_LOOK_SECONDS)
                polls = measure(poll, url=server.url, key=server.key, jobs=jobs, **known)
                exported = working.result()
        finally:
            _cancel(given, jobs)
            shutil.rmtree(given.settings.exports, ignore_errors=True)
    count, errors, seconds, p50, p99 = polls.result
    what = f"{_CLIENTS} clients, {seconds:.0f} s"
    row = [what, f"{count:,}", f"{count / seconds:,.0f}", f"{p50:.0f}", f"{p99:.0f}", f"{errors:,}"]
    return Section(
        "API: status polls with an export being made beside",
        ["What", "requests", "requests/s", "p50 ms", "p99 ms", "errors"],
        [row],
        [f"Exported meanwhile: {exported.result:,} rows. Clients, server and export share the cores."],
        [
            at_most(f"Status polls of {_CLIENTS} clients, p99", _WANTED_P99_MS, p99, "ms"),
            at_most("Status polls that failed", 0, errors, ""),
        ],
    )


def _asked(server: Server, begin: date, end: date, **values: str) -> str:
    body = {"startDate": str(begin), "endDate": str(end), **values}
    return str(server.call("POST", "/v1/analytics/export", json=body)["jobId"])


def _any_begun(server: Server, jobs: Sequence[str]) -> bool:
    return bool(server.call("GET", f"/v1/analytics/export/{jobs[0]}")["status"] != "queued")


def _cancel(given: Input, jobs: Sequence[str]) -> None:
    """End the jobs that nobody came to, or the next benchmark would work on them."""
    ledger = Ledger(given.settings)
    for job_id in jobs:
        try:
            ledger.jobs.cancel(job_id, utc_now())
        except Conflict:
            continue


def work(home: str, jobs: Sequence[str], seconds: float) -> int:
    """Work on jobs one after the other until the time is over; how many rows they exported."""
    settings = deployment(home)
    store, ledger = Store(settings), Ledger(settings)
    until, rows = time.monotonic() + seconds, 0
    for job_id in jobs:
        rows += run_job(settings, store, ledger, job_id, 1).rows or 0
        if time.monotonic() > until:
            break
    return rows


def poll(url: str, key: str, jobs: Sequence[str], seconds: float) -> tuple[int, int, float, float, float]:
    """Ask for the status of each job on a connection of its own, each answer followed by the next request.

    Returns:
        Requests answered, how many of them not with 200, the seconds that took, and the median and the 99th
        percentile of the milliseconds until an answer was there.
    """
    return asyncio.run(_poll(url, key, jobs, seconds))


async def _poll(
    url: str, key: str, jobs: Sequence[str], seconds: float
) -> tuple[int, int, float, float, float]:
    address = urlsplit(url)
    times: list[float] = []
    errors = 0
    began = time.perf_counter()

    async def client(job_id: str) -> None:
        nonlocal errors
        request = (
            f"GET /v1/analytics/export/{job_id} HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: Bearer {key}\r\n\r\n"
        ).encode()
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        while (asked := time.perf_counter()) < began + seconds:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            times.append(time.perf_counter() - asked)
            errors += b" 200 " not in head.partition(b"\r\n")[0]
        writer.close()

    await asyncio.gather(*map(client, jobs))
    shares = quantiles(times, n=100)
    return len(times), errors, time.perf_counter() - began, shares[49] * 1000, shares[98] * 1000


def _downloaded(plan: Plan, given: Input) -> Section:
    """The first bytes of a day as one plain file, and the server's memory while they are sent."""
    settings = given.settings
    with serving(given.home) as server:
        job_id = _asked(server, given.end, given.end, compression="none")
        run_job(settings, Store(settings), Ledger(settings), job_id, 1)
        status = server.call("GET", f"/v1/analytics/export/{job_id}")
        length = min(plan.download_bytes, status["bytes"])
        call = {"url": status["downloadUrl"], "length": length}
        measure(download, **call)  # fills the cache of the disk
        before = server.memory()
        with ThreadPoolExecutor(1) as beside:
            done = Event()
            most = beside.submit(_most_memory, server, done)
            speeds = [length / measure(download, **call).result / 1e6 for _ in range(plan.rounds)]
            done.set()
        grown = most.result() - before
    shutil.rmtree(settings.exports, ignore_errors=True)
    row = [megabytes(length), f"{median(speeds):,.0f}", megabytes(before), megabytes(most.result())]
    return Section(
        "API: one file downloaded, the client on the same machine",
        ["File", "MB/s", "server's memory before", "at most"],
        [row],
        [f"Each: {', '.join(f'{speed:,.0f} MB/s' for speed in speeds)}."],
        [at_most("Memory that a download adds to the server", _WANTED_MB, grown / 1e6, "MB")],
    )


def _most_memory(server: Server, done: Event) -> int:
    most = 0
    while not done.wait(_LOOK_SECONDS):
        most = max(most, server.memory())
    return most


def download(url: str, length: int) -> float:
    """Receive the first ``length`` bytes of a file and let go of them; how many seconds that takes.

    Raises:
        RuntimeError: if the server does not send as many.
    """
    parts = urlsplit(url)
    request = (
        f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Range: bytes=0-{length - 1}\r\nConnection: close\r\n\r\n"
    ).encode()
    block = bytearray(_BLOCK_BYTES)
    began = time.perf_counter()
    with socket.create_connection((parts.hostname or "", parts.port or 80)) as connection:
        connection.sendall(request)
        head = bytearray()
        while b"\r\n\r\n" not in head and (first := connection.recv(_BLOCK_BYTES)):
            head += first
        received = len(head.partition(b"\r\n\r\n")[2])
        while count := connection.recv_into(block):
            received += count
    seconds = time.perf_counter() - began
    if received != length:
        raise RuntimeError(f"{received} of {length} bytes came")
    return seconds
