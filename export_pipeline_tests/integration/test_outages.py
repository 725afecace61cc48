"""An object store that answers 500 and 503, late, half or not at all: nothing is lost or half done."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from upath import UPath

from export_pipeline import buckets, composing, objects
from export_pipeline.composing import Extent
from export_pipeline.errors import ExportPipelineError, TransientError
from export_pipeline.exports import live_daily, verify
from export_pipeline.exports.daily import daily_folder
from export_pipeline.exports.publishing import sweep_unpublished
from export_pipeline.exports.service import run_job
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Ledger
from export_pipeline.objects import files_below, relative
from export_pipeline.operations.bucket import check_bucket
from export_pipeline.privacy.erasing import erase_now
from export_pipeline.privacy.requests import request_erasures
from export_pipeline.retention import retain
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store
from export_pipeline.store.maintenance import crowded_days
from export_pipeline.store.tables import TABLE_OF
from export_pipeline_tests import faultproxy
from export_pipeline_tests.faultproxy import FaultProxy
from export_pipeline_tests.privacy.scenario import ADA, EVE, FIRST, GONE, NOW, Deployment, events, put
from export_pipeline_tests.privacy.walker import find

pytestmark = pytest.mark.system

SHARE = 0.05
SOON_SECONDS = 25
"""Within which who waits is told that the store is gone; about 5 on a machine that does nothing else."""
LOST = ("lost answer",)
TABLE = TABLE_OF["events"]


@pytest.fixture
def backend() -> str:
    return "s3"


@pytest.fixture
def environment(environment: dict[str, str], proxy: FaultProxy) -> dict[str, str]:
    return environment | {"EXPORT_PIPELINE_S3_ENDPOINT": proxy.url}


@pytest.fixture
def there(settings: Settings, store: Store, ledger: Ledger, proxy: FaultProxy) -> Iterator[Deployment]:
    yield Deployment(settings, store, ledger)
    # Who is looked for on the disk of the store by other tests is not left there.
    proxy.share, proxy.down = 0.0, False
    objects.remove(settings.data)


@pytest.fixture
def undisturbed(tmp_path: Path) -> Deployment:
    settings = load({"EXPORT_PIPELINE_HOME": str(tmp_path / "undisturbed")})
    return Deployment(settings, Store(settings), Ledger(settings))


def erase(there: Deployment) -> None:
    erase_now(
        there.settings,
        there.store,
        there.ledger,
        lambda: request_erasures(there.ledger, [ADA, EVE], now=NOW, created_by="command"),
        clock=lambda: NOW,
    )


def parts(there: Deployment) -> dict[str, str]:
    """The SHA-256 of the part files of all live daily exports, by name."""
    return {
        f"{data_type}/{format}/{file.name}": file.sha256
        for data_type, format in (("events", "jsonl"), ("quality", "csv"), ("ads", "jsonl"))
        if (live := live_daily(there.settings, data_type, format, FIRST))
        for file in live.manifest.files
    }


def left(there: Deployment, folder: UPath) -> list[str]:
    """What is below a folder of the bucket, unfinished uploads too."""
    found = [relative(path, folder) for path, _, _ in files_below(folder)]
    return [*found, *(upload.name for upload in buckets.unfinished(folder))]


def test_exports_made_through_faults_are_those_made_without(
    there: Deployment, undisturbed: Deployment, proxy: FaultProxy
) -> None:
    for deployment in (undisturbed, there):
        deployment.take_in(days=1)
        deployment.daily("events", "jsonl", FIRST)
        deployment.daily("quality", "csv", FIRST)
        proxy.share = SHARE
    job = there.ask(format="jsonl", dataTypes=["events", "ads"])
    made = run_job(there.settings, there.store, there.ledger, job, 1, clock=lambda: NOW)
    proxy.share = 0.0
    assert sum(proxy.spoiled.values()) >= 3
    assert made.state == "complete"
    assert parts(there) == parts(undisturbed) != {}
    assert verify(there.settings.exports).problems == ()


@pytest.mark.soak
def test_erasure_and_retention_through_faults_leave_what_they_leave_without(
    there: Deployment, undisturbed: Deployment, proxy: FaultProxy, tmp_path: Path
) -> None:
    for deployment in (undisturbed, there):
        deployment.take_in(days=2)
        deployment.export()
        erase(deployment)
        proxy.share = SHARE
    proxy.share, spoiled = 0.0, dict(proxy.spoiled)
    assert set(spoiled) == set(faultproxy.FAULTS)
    assert parts(there) == parts(undisturbed) != {}
    assert verify(there.settings.exports).problems == ()
    before = len(left(there, there.settings.exports))
    assert [place for folder in there.everything(tmp_path / "copy") for place in find(folder, GONE)] == []
    proxy.share = SHARE
    retain(there.settings, there.store, there.ledger, NOW + timedelta(days=8))
    proxy.share = 0.0
    assert len(left(there, there.settings.exports)) < before


def test_a_store_that_is_gone_is_told_soon_and_what_was_asked_is_done_once_it_is_back(
    there: Deployment, proxy: FaultProxy
) -> None:
    there.take_in(days=1)
    put(there.settings, "waiting.jsonl", events("quality", FIRST, "waiting"), "quality")
    job = there.ask()
    proxy.down = True
    began = time.monotonic()
    with pytest.raises(TransientError, match="the object store does not answer"):
        run_job(there.settings, there.store, there.ledger, job, 1, clock=lambda: NOW)
    assert time.monotonic() - began < SOON_SECONDS

    proxy.down = False
    assert left(there, there.settings.exports) == []
    ingest_landing(there.settings, there.store, there.ledger, now=NOW)
    assert there.ledger.read_days("quality", FIRST, FIRST)[FIRST].rows == 18
    there.daily("events", "jsonl", FIRST)
    made = run_job(there.settings, there.store, there.ledger, job, 2, clock=lambda: NOW)
    assert (made.state, verify(there.settings.exports).problems) == ("complete", ())


def test_a_store_that_takes_requests_and_never_answers_is_told_within_its_attempts(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], proxy: FaultProxy
) -> None:
    monkeypatch.setattr(objects, "_READ_SECONDS", 0.5)
    settings = load(environment)
    proxy.mute = True
    began = time.monotonic()
    with pytest.raises(TransientError, match="the object store does not answer"):
        check_bucket(settings)
    assert time.monotonic() - began < objects.ATTEMPTS * 0.5 + SOON_SECONDS


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(lambda store: store.files(TABLE, FIRST, FIRST), id="files"),
        pytest.param(lambda store: store.sizes(TABLE), id="sizes", marks=pytest.mark.soak),
        pytest.param(lambda store: store.files_since(TABLE, 0), id="since", marks=pytest.mark.soak),
        pytest.param(lambda store: store.files_of_users(TABLE, [ADA]), id="users"),
        pytest.param(lambda store: crowded_days(store, TABLE, 1), id="merging", marks=pytest.mark.soak),
    ],
)
def test_a_store_that_goes_away_while_files_are_looked_for_is_told(
    there: Deployment, proxy: FaultProxy, plan: Callable[[Store], object]
) -> None:
    there.take_in(days=1)
    proxy.only, proxy.faults, proxy.share = rb"(GET|HEAD) .*\.avro", ("500",), 1.0
    with pytest.raises(TransientError, match="the object store does not answer"):
        plan(there.store)


@pytest.mark.parametrize("request_of", [rb"PUT (?!.*uploadId)", rb"PUT .*uploadId", rb"POST .*uploadId"])
def test_a_write_of_which_the_answer_is_lost_is_done_once_and_is_ours(
    settings: Settings, proxy: FaultProxy, request_of: bytes
) -> None:
    tree, content = settings.data / "tree", bytes(range(256)) * (9 << 12)
    objects.write(tree / "source", content)
    writes = {
        "put": lambda: objects.write(tree / "put", b"small", absent=True),
        "composed": lambda: composing.compose(tree / "composed", [Extent(tree / "source", 0, len(content))]),
        "streamed": lambda: stream(tree / "streamed", content + content),
    }
    for write in writes.values():
        proxy.only, proxy.faults, proxy.share, proxy.left = request_of, LOST, 1.0, 1
        write()
        proxy.left = 0
        with pytest.raises(FileExistsError):
            write()
    assert proxy.spoiled[LOST[0]] >= 1
    assert [found.size for found in buckets.listed(tree)] == [
        len(content), len(b"small"), len(content), 2 * len(content),
    ]  # fmt: skip
    assert list(buckets.unfinished(tree)) == []


def stream(path: UPath, content: bytes) -> None:
    with objects.writing(path, absent=True) as file:
        file.write(content)


@pytest.mark.soak
def test_an_export_that_the_store_went_away_from_leaves_nothing_that_looks_like_one(
    there: Deployment, proxy: FaultProxy
) -> None:
    there.take_in(days=1)
    proxy.only, proxy.faults, proxy.share = b"PUT ", ("500",), 1.0
    with pytest.raises(ExportPipelineError):
        there.daily("events", "jsonl", FIRST)
    proxy.share = 0.0
    assert live_daily(there.settings, "events", "jsonl", FIRST) is None
    sweep_unpublished(there.settings)
    assert left(there, daily_folder(there.settings, "events", "jsonl", FIRST)) == []
