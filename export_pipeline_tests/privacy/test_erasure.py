"""After an erasure nothing of the person is anywhere, and all of everybody else is; it can die anywhere."""

import json
import signal
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from export_pipeline.exports import live_daily, verify, write_export
from export_pipeline.exports.request import parse_request
from export_pipeline.exports.service import run_job
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Erasure, Ledger
from export_pipeline.ledger.erasures import COMPLETE, QUEUED
from export_pipeline.objects import for_arrow
from export_pipeline.privacy.erasing import STEPS, erase_now, take_step
from export_pipeline.privacy.foreseeing import foresee
from export_pipeline.privacy.requests import request_erasures, shown
from export_pipeline.privacy.restating import removed_file, rewritten
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline.store.tables import TABLE_OF
from export_pipeline_tests import processes
from export_pipeline_tests.ingest.landed import land, line
from export_pipeline_tests.privacy.scenario import (
    ADA,
    ADAS_PHONE,
    ALIKE,
    BOB,
    DAYS,
    EVE,
    EVES_PHONE,
    FIRST,
    GONE,
    NOW,
    SHARED,
    Deployment,
    events,
    put,
)
from export_pipeline_tests.privacy.walker import find

POINTS = (
    "erasure.resolve",
    "erasure.resolved",
    "erasure.suppressed",
    "ingest.stored",
    "erasure.rewritten",
    "erasure.stored",
    "erasure.forgotten",
    "rewrite.written",
    "rewrite.published",
    "rewrite.shown",
    "erasure.listed",
    "erasure.expired",
    "erasure.cleaning",
    "erasure.replaced",
    "erasure.scanned",
    "erasure.certify",
    "erasure.certified",
)
IN_A_BUCKET = (
    "ingest.stored",
    "erasure.stored",
    "rewrite.published",
    "erasure.cleaning",
    "erasure.scanned",
)
"""Those after which there is something in the bucket that was not there, or is gone."""


@pytest.fixture
def there(settings: Settings, store: Store, ledger: Ledger) -> Deployment:
    settings = settings.model_copy(update={"window_rows": 20, "jobs_per_day": 1000})
    return Deployment(settings, store, ledger)


def erase(there: Deployment, *user_ids: str) -> tuple[Erasure, ...]:
    """Erase people as the command does."""
    return erase_now(
        there.settings,
        there.store,
        there.ledger,
        lambda: request_erasures(there.ledger, user_ids, now=NOW, created_by="command"),
        clock=lambda: NOW,
    )


def left(there: Deployment, copies: Path) -> list[str]:
    """Where something of the two is."""
    return [place for folder in there.everything(copies) for place in find(folder, GONE)]


def rows(there: Deployment) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables; the rows of Bob and of who is alike as they must be afterwards."""
    found = {}
    for table in TABLE_OF.values():
        files = there.store.files(table)
        all_rows = [
            row for path in files for row in pq.read_table(for_arrow(path), partitioning=None).to_pylist()
        ]
        found[table] = sorted(all_rows, key=lambda row: json.dumps(row, default=str))
    return found


def without_them(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """What must be left of rows, by a rule of a few lines."""
    left = {}
    for table, all_rows in found.items():
        kept = [row for row in all_rows if row["userId"] in (BOB, ALIKE)]
        left[table] = sorted(map(_erased, kept), key=lambda row: json.dumps(row, default=str))
    return left


def _erased(row: dict[str, Any]) -> dict[str, Any]:
    def of(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        for id_ in sorted(GONE, key=len, reverse=True):
            for written in (json.dumps(id_, ensure_ascii=False)[1:-1], json.dumps(id_)[1:-1], id_):
                for ends in (("", ","), (" ", ""), ('"', '"'), ("=", "&")):
                    value = value.replace(written.join(ends), "[erased]".join(ends))
        return "[erased]" if value in GONE else value

    return {name: of(value) for name, value in row.items()}


@pytest.mark.parametrize(
    ("backend", "points"),
    [
        ("embedded", POINTS),
        pytest.param("s3", IN_A_BUCKET, marks=pytest.mark.system),
        pytest.param("s3", POINTS, marks=[pytest.mark.system, pytest.mark.soak]),
    ],
    indirect=["backend"],
    ids=["embedded", "s3", "s3-everywhere"],
)
def test_nothing_of_two_people_is_left_although_each_step_died_once_and_all_of_others_is_there(
    there: Deployment, tmp_path: Path, points: Sequence[str]
) -> None:
    there.take_in()
    there.export()
    naming = there.wait()
    before = rows(there)
    foreseen = foresee(there.settings, there.store, there.ledger, [ADA, EVE], NOW)
    assert left(there, tmp_path / "before")
    made = request_erasures(there.ledger, [ADA, EVE], now=NOW, created_by="command")
    for point in points:
        assert die(there.settings, made[0].id, point) == -signal.SIGKILL, point
    assert die(there.settings, made[0].id, "") == 0
    assert left(there, tmp_path / "after") == []

    after = rows(there)
    late = [row for row in after["engagement_events"] if "-waiting-" in row["eventId"]]
    assert {row["userId"] for row in late} == {BOB, ALIKE}
    after["engagement_events"] = [row for row in after["engagement_events"] if row not in late]
    assert after == without_them(before)
    assert verify(there.settings.exports).problems == ()
    counted = there.ledger.known_days("events")
    assert sum(state.rows for state in counted.values()) == len(after["engagement_events"]) + len(late)
    assert {state.erasures for state in counted.values()} == {1}

    jobs = there.ledger.jobs
    assert [jobs.get(job_id, NOW).error_code for job_id in naming] == ["SUBJECT_ERASED"] * 3
    assert [job.state for job in jobs.open(NOW)] == [QUEUED]
    ada, eve = (shown(there.ledger, there.ledger.erasures.get(request.id)) for request in made)
    assert (ada["status"], eve["status"]) == (COMPLETE, COMPLETE)
    tables = ("engagement_events", "quality_events", "ad_events", "device_links")
    assert [ada["rowsRemoved"][table] for table in tables] == [3 * DAYS + 3, 3 * DAYS, 3 * DAYS, 3]
    assert [eve["rowsRemoved"][table] for table in tables] == [2 * DAYS + 2, 2 * DAYS, 2 * DAYS, 1]
    for request, expected in zip((ada, eve), foreseen["requests"], strict=True):
        assert expected["rowsRemoved"].items() <= request["rowsRemoved"].items()
    assert ada["rowsRemoved"]["quarantine"] == foreseen["quarantine"] == 2

    told = rewritten(there.ledger, made[0].id)
    listed = [json.loads(each) for each in removed_file(there.settings, made[0].id).read_text().splitlines()]
    assert len({export["path"] for export in told}) == len(told) == len(foreseen["exports"])
    assert sum(export["rowsRemoved"] for export in told) == sum(len(each["eventIds"]) for each in listed)


def test_a_daily_export_goes_on_as_its_next_version_and_stands_for_the_day(there: Deployment) -> None:
    there.take_in(days=1)
    there.daily("events", "csv", FIRST)
    erase(there, ADA)
    live = live_daily(there.settings, "events", "csv", FIRST)
    assert live is not None
    state = there.ledger.read_days("events", FIRST, FIRST)[FIRST]
    assert (live.manifest.version, live.data_version, live.rows) == (2, state.version, state.rows)
    assert live.manifest.replaces is not None
    assert (live.manifest.replaces.rows_added, live.manifest.replaces.rows_removed) == (0, 3)
    assert [path.name for path in live.path.parent.iterdir()] == ["v2"]
    there.daily("events", "csv", FIRST)
    again = live_daily(there.settings, "events", "csv", FIRST)
    assert again is not None
    assert again.path == live.path


def die(settings: Settings, request_id: str, point: str) -> int | None:
    """Work on a request in a process of its own until ``point``; how it ended."""
    settings = settings.model_copy(update={"fault_point": point})
    return processes.ended(processes.start(_work, settings, request_id))


def _work(settings: Settings, request_id: str) -> None:
    store, ledger = Store(settings), Ledger(settings)
    for name in STEPS:
        take_step(settings, store, ledger, request_id, name, NOW)


def test_an_id_that_is_used_again_keeps_what_happens_later(there: Deployment) -> None:
    there.take_in(days=1)
    erase(there, ADA)
    later = NOW + timedelta(days=1)
    at = later.isoformat().replace("+00:00", "Z")
    old = line(userId=ADA, eventId="old", timestamp="2026-11-20T10:00:00Z", receivedAt=at)
    new = line(userId=ADA, eventId="new", timestamp=at, receivedAt=at)
    land(there.settings, "again.jsonl", f"{old}\n{new}\n")
    ingest_landing(there.settings, there.store, there.ledger, now=later)
    erase(there, EVE)
    found = [row for row in rows(there)["engagement_events"] if row["userId"] == ADA]
    assert [row["eventId"] for row in found] == ["new"]


def test_beside_ingest_and_exports_nothing_comes_back(there: Deployment, tmp_path: Path) -> None:
    there.take_in(days=3)
    stop = threading.Event()
    failures: list[BaseException] = []

    def keeping_on(work: Callable[[int], None]) -> threading.Thread:
        def loop() -> None:
            number = 0
            try:
                while not stop.wait(0.3):
                    work(number)
                    number += 1
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=loop)
        thread.start()
        return thread

    def ingests(number: int) -> None:
        # What others say of them later is theirs to say; what they did before is not taken in any more.
        named = (row for row in events("events", FIRST, f"more-{number}") if not row["data"])
        rows = (row for row in named if row["deviceId"] is None)
        put(there.settings, f"more-{number}.jsonl", rows, "events")
        ingest_landing(there.settings, there.store, there.ledger, now=NOW)

    def exports(number: int) -> None:
        there.daily("events", ("jsonl", "csv")[number % 2], FIRST + timedelta(days=number % 3))

    def asks(_: int) -> None:
        run_job(there.settings, there.store, there.ledger, there.ask(), 1, clock=lambda: NOW)

    def writes(number: int) -> None:
        dates = {"startDate": str(FIRST), "endDate": str(FIRST)}
        request = parse_request(dates, now=NOW, settings=there.settings)
        out = tmp_path / f"out-{number}"
        write_export(request, out, settings=there.settings, store=there.store, ledger=there.ledger, now=NOW)

    threads = [keeping_on(work) for work in (ingests, exports, asks, writes)]
    try:
        erase(there, ADA, EVE)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert left(there, tmp_path / "after") == []
    assert verify(there.settings.exports).problems == ()
    assert {row["userId"] for row in rows(there)["engagement_events"]} == {BOB, ALIKE}
    assert {ADAS_PHONE, EVES_PHONE, SHARED}.isdisjoint(
        {row["userId"] for row in rows(there)["engagement_events"]}
    )
