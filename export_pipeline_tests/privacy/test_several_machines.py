"""An erasure on one machine while others of the deployment make exports, upload, and die."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from export_pipeline import buckets, locks, objects
from export_pipeline.days import utc_now
from export_pipeline.errors import TransientError
from export_pipeline.exports import verify
from export_pipeline.exports.publishing import HOLDERS
from export_pipeline.exports.service import run_job
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.erasures import COMPLETE
from export_pipeline.locks import lock
from export_pipeline.privacy import purging
from export_pipeline.privacy.erasing import STEPS, erase_now, take_step
from export_pipeline.privacy.purging import BEFORE, purge
from export_pipeline.privacy.requests import request_erasures
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store
from export_pipeline_tests import objectstore
from export_pipeline_tests.conditions import until
from export_pipeline_tests.exports import process
from export_pipeline_tests.privacy.scenario import ADA, ADAS_PHONE, ADAS_TABLET, FIRST, NOW, Deployment
from export_pipeline_tests.privacy.walker import find

pytestmark = pytest.mark.system
HERS = (ADA, ADAS_PHONE, ADAS_TABLET)
PATIENCE = 60


@pytest.fixture
def backend() -> str:
    return "s3+postgres"


@pytest.fixture
def there(settings: Settings, store: Store, ledger: Ledger) -> Iterator[Deployment]:
    made = Deployment(settings, store, ledger)
    made.take_in(days=1)
    yield made
    objects.remove(settings.data)  # others look for the same bytes on the disk of the store


@pytest.fixture
def other(there: Deployment, environment: dict[str, str], tmp_path: Path) -> Settings:
    """Another machine of the deployment: a state root of its own, the same secrets."""
    home = tmp_path / "other"
    home.mkdir()
    secrets = there.settings.root / "secrets"
    secrets.mkdir(mode=0o700, exist_ok=True)
    (home / "secrets").symlink_to(secrets)
    return load({**environment, "EXPORT_PIPELINE_HOME": str(home)})


@contextmanager
def working(work: Callable[[], object]) -> Iterator[threading.Thread]:
    """``work`` in a thread, ended when the block is; what it raised is raised then."""
    failed = list[BaseException]()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(PATIENCE)
    if failed:
        raise failed[0]
    assert not thread.is_alive()


def erase(there: Deployment) -> None:
    asked = lambda: request_erasures(there.ledger, [ADA], now=NOW, created_by="command")  # noqa: E731
    [done] = erase_now(there.settings, there.store, there.ledger, asked, clock=lambda: NOW)
    assert done.state == COMPLETE


def asked_for(there: Deployment) -> str | None:
    """The request, once it is at work."""
    found = there.ledger.erasures.open()
    return found[0].id if found and found[0].pass_id else None


def held(there: Deployment, to: Path) -> list[str]:
    return [place for folder in there.everything(to) for place in find(folder, HERS)]


def test_an_export_that_another_machine_makes_is_waited_for_and_made_again_without_her(
    there: Deployment, other: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, go_on = threading.Event(), threading.Event()

    def waiting(_: str) -> tuple[date, ...]:
        written.set()
        assert go_on.wait(PATIENCE)
        return ()

    looks, members = list[str](), locks.members

    def looking(settings: Settings, group: str) -> frozenset[str]:
        if settings is there.settings:
            looks.append(group)
        return members(settings, group)

    monkeypatch.setattr(locks, "members", looking)
    job_id = there.ask()
    store, ledger = Store(other), Ledger(other)
    with working(lambda: run_job(other, store, ledger, job_id, 1, clock=lambda: NOW, waiting=waiting)):
        assert written.wait(PATIENCE)
        with working(lambda: erase(there)) as erasing:
            try:
                until(lambda: (id_ := asked_for(there)) and there.ledger.erasure_steps.get(id_, BEFORE))
                looks.clear()
                until(lambda: looks.count(HOLDERS) > 2)  # it looks again only as long as it waits
                assert erasing.is_alive()
            finally:
                go_on.set()
    job = there.ledger.jobs.get(job_id, NOW)
    assert (job.state, job.rows) == (COMPLETE, there.ledger.read_days("events", FIRST, FIRST)[FIRST].rows)
    assert verify(there.settings.exports).problems == ()
    assert held(there, tmp_path / "copies") == []


def test_a_machine_that_died_keeps_no_erasure_from_its_end(
    there: Deployment, other: Settings, tmp_path: Path
) -> None:
    process.die(other, there.ask(), 1, NOW, "export.written")
    unpublished = [found.name for found in buckets.listed(there.settings.exports)]
    assert any("part-" in name for name in unpublished)
    began = time.monotonic()
    erase(there)
    assert time.monotonic() - began < PATIENCE
    assert held(there, tmp_path / "copies") == []


def begun(settings: Settings, s3: Any, name: str) -> str:
    """An upload that somebody has begun; its id."""
    key = f"{buckets.key_of(settings.data)}/{name}"
    upload = s3.create_multipart_upload(Bucket=objectstore.BUCKET, Key=key)["UploadId"]
    s3.upload_part(Bucket=objectstore.BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"{}")
    return str(upload)


def test_only_uploads_that_nobody_can_finish_any_more_are_given_up(
    there: Deployment, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, ledger = there.settings, there.ledger
    part = "exports/daily/events/jsonl/2026-11-11/v1/events/part-00000.jsonl.gz"
    left, sent = begun(settings, s3, part), begun(settings, s3, "landing/events/large.jsonl")
    begun_since = list[str]()
    wait_for = purging._wait_for

    def waiting(*given: Any) -> None:
        begun_since.append(begun(settings, s3, part))
        wait_for(*given)
        if len(begun_since) == 1:
            raise TransientError("for the test")

    monkeypatch.setattr(purging, "_wait_for", waiting)
    ahead = utc_now() + timedelta(hours=1)  # the clock of this machine is not that of the store
    [request] = request_erasures(ledger, [ADA], now=ahead, created_by="command")
    for name in STEPS:
        if name == "purge":
            break
        take_step(settings, there.store, ledger, request.id, name, ahead)
    with lock(settings, "making-daily-events-jsonl-2026-11-11-v1"):  # as who has begun since is still at it
        with pytest.raises(TransientError, match="for the test"):
            purge(settings, there.store, ledger, request.id, ahead)
        purge(settings, there.store, ledger, request.id, ahead)
    assert len(begun_since) == 2
    assert {each.id for each in buckets.unfinished(settings.data)} == {sent, *begun_since} - {left}


def test_what_others_are_still_uploading_to_the_landing_prefix_keeps_no_certificate_back(
    there: Deployment, s3: Any
) -> None:
    sent = begun(there.settings, s3, "landing/events/large.jsonl")
    erase(there)
    assert [each.id for each in buckets.unfinished(there.settings.data)] == [sent]
