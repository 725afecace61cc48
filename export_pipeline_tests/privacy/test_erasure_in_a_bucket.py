"""Of who is erased nothing is left in the bucket, nor in the files of the object store itself."""

import json
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from export_pipeline import buckets, objects
from export_pipeline.dagster_home import prepare
from export_pipeline.errors import NotProven
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Erasure, Ledger
from export_pipeline.ledger.erasures import COMPLETE
from export_pipeline.privacy import certificates
from export_pipeline.privacy.erasing import erase_now
from export_pipeline.privacy.matching import Needles
from export_pipeline.privacy.proving import BUCKET_LIMITS
from export_pipeline.privacy.requests import request_erasures
from export_pipeline.privacy.scanning import scan_root
from export_pipeline.privacy.searching import Erased
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store
from export_pipeline_tests import objectstore
from export_pipeline_tests.ingest.landed import land, lines
from export_pipeline_tests.objectstore import ObjectStore
from export_pipeline_tests.privacy.scenario import ADA, EVE, FIRST, GONE, NOW, Deployment, events, put
from export_pipeline_tests.privacy.walker import find

pytestmark = pytest.mark.system
PATIENCE_SECONDS = 30


@pytest.fixture
def backend() -> str:
    return "s3"


@pytest.fixture
def there(settings: Settings, store: Store, ledger: Ledger) -> Deployment:
    return Deployment(settings, store, ledger)


def erase(there: Deployment, *user_ids: str) -> tuple[Erasure, ...]:
    return erase_now(
        there.settings,
        there.store,
        there.ledger,
        lambda: request_erasures(there.ledger, user_ids, now=NOW, created_by="command"),
        clock=lambda: NOW,
    )


def test_no_byte_of_them_is_in_any_object_nor_on_the_stores_disk_once_it_reclaims_space(
    there: Deployment, object_store: ObjectStore, tmp_path: Path
) -> None:
    there.take_in(days=2)
    put(there.settings, "waiting.jsonl", events("events", FIRST, "waiting"), "events")
    [_, copies] = there.everything(tmp_path / "before")
    held = {place.partition(":")[0].split("!")[0] for place in find(copies, GONE)}
    objects_held = [path for path in copies.rglob("*.parquet") if any(path.name in h for h in held)]
    contents = [path.read_bytes() for path in objects_held]
    assert len(contents) >= 6
    assert on_disk(object_store, contents) == len(contents)

    requests = erase(there, ADA, EVE)

    assert [place for folder in there.everything(tmp_path / "after") for place in find(folder, GONE)] == []
    until = time.monotonic() + PATIENCE_SECONDS
    while on_disk(object_store, contents) and time.monotonic() < until:
        time.sleep(0.5)  # it removes the bytes of an object some time after the object
        object_store.reclaim()
    assert on_disk(object_store, contents) == 0
    [said, _] = (json.loads(certificates.path_of(there.settings, r.id).read_bytes()) for r in requests)
    assert said["matchesLeft"] == 0
    assert set(BUCKET_LIMITS) <= set(said["limits"])
    found = [each.name for each in buckets.listed(there.settings.data)]
    in_root = sum(path.is_file() for path in there.settings.root.rglob("*"))
    assert said["filesSearched"] >= len(found) > 20
    assert said["filesSearched"] <= len(found) + in_root + 10


@dg.op
def speak() -> None:
    print("spoken by the run")


def test_what_runs_printed_into_the_bucket_is_searched_too(
    there: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = prepare(there.settings)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        job = dg.GraphDefinition(name="spoken", node_defs=[speak]).to_job()
        run = job.execute_in_process(instance=instance)
    printed = there.settings.data / "dagster" / "storage" / run.run_id
    assert {path.suffix for path, _, _ in objects.files_below(printed)} == {".out", ".err"}
    partial = printed / "compute_logs" / "step.out.partial"
    objects.write(partial, b"spoken of nobody")
    [request] = erase(there, ADA)
    assert request.state == COMPLETE
    objects.write(partial, f"spoken of {ADA}".encode())
    assert scan(there.settings, ADA).places["output of runs"].hits == 1


def on_disk(object_store: ObjectStore, contents: list[bytes]) -> int:
    """How many contents of objects are somewhere in the store's volumes."""
    volumes = b"".join(path.read_bytes() for path in object_store.data.rglob("*.dat"))
    return sum(content in volumes for content in contents)


def scan(settings: Settings, *ids: str) -> Any:
    return scan_root(settings, Erased(Needles(ids), NOW, watermark=0))


def test_every_object_is_searched_and_what_nobody_accounts_for_is_told(settings: Settings, s3: Any) -> None:
    objects.write(settings.data / "landing" / "events" / "a.jsonl", b'{"userId": "user_00000001"}\n')
    report = scan(settings, ADA)
    assert (report.places["landing"].files, report.total.hits, report.problems) == (1, 1, ())
    objects.write(settings.data / "notes.txt", b"")
    objects.write(settings.data / "ledger.db", b"")
    assert [problem.split(":")[0] for problem in scan(settings, ADA).problems] == ["ledger.db", "notes.txt"]
    objects.remove(settings.data)
    s3.put_object(Bucket=objectstore.BUCKET, Key=f"{buckets.key_of(settings.data)}/{ADA}/", Body=b"")
    s3.put_object(Bucket=objectstore.BUCKET, Key=f"{buckets.key_of(settings.data)}beside", Body=ADA.encode())
    report = scan(settings, ADA)
    assert (report.places["names"].hits, report.total.hits, report.problems) == (1, 1, ())


def test_an_upload_begun_before_the_erasure_turns_the_scan_red(
    settings: Settings, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"{buckets.key_of(settings.data)}/exports/daily/x/part-00000.jsonl"
    s3.create_multipart_upload(Bucket=objectstore.BUCKET, Key=key)
    late = Erased(Needles([ADA]), NOW.replace(year=2100), watermark=0)
    assert "upload" in scan_root(settings, late).problems[0]


def test_a_bucket_that_keeps_old_versions_gets_no_certificate(environment: dict[str, str], s3: Any) -> None:
    s3.create_bucket(Bucket="old-versions")
    s3.put_bucket_versioning(Bucket="old-versions", VersioningConfiguration={"Status": "Enabled"})
    settings = load(environment | {"EXPORT_PIPELINE_OBJECT_STORE": "s3://old-versions/x"})
    there = Deployment(settings, Store(settings), Ledger(settings))
    land(settings, "a.jsonl", lines(1))
    ingest_landing(settings, there.store, there.ledger, now=NOW)
    with pytest.raises(NotProven, match="what was removed from the bucket is not gone: its versioning is on"):
        erase(there, ADA)
