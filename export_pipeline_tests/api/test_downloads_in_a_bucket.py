"""Downloads of exports that lie in S3: from the store itself where a file is one object, each use checked."""

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests

from export_pipeline import objects
from export_pipeline.days import utc_now
from export_pipeline.delivery.fetching import fetch
from export_pipeline.delivery.published import published
from export_pipeline.delivery.sources import LocalSource, UrlSource
from export_pipeline.exports import verify
from export_pipeline_tests.api.conftest import ROWS, Api, Serving

pytestmark = pytest.mark.system


@pytest.fixture
def backend() -> str:
    return "s3"


@pytest.fixture
def api(serving: Serving, environment: dict[str, str]) -> Api:
    names = {name.removeprefix("EXPORT_PIPELINE_").lower(): value for name, value in environment.items()}
    return serving(Path(names.pop("home")), **{"window_rows": "7", **names})


def asked(url: str, method: str = "GET", onwards: bool = True, **headers: str) -> requests.Response:
    return requests.request(method, url, headers=headers, timeout=60, allow_redirects=onwards)


def event_ids(content: bytes) -> list[str]:
    return [json.loads(line)["eventId"] for line in gzip.decompress(content).splitlines()]


def test_a_file_that_is_one_object_comes_from_the_store_for_as_long_as_the_link_is_good(
    api: Api, tmp_path: Path
) -> None:
    status = api.complete()
    url = status["downloadUrl"]
    onwards = asked(url, onwards=False)
    assert onwards.status_code == 307
    assert onwards.headers["Location"].startswith(api.settings.s3_endpoint)
    assert "X-Amz-Signature" in onwards.headers["Location"]
    whole = asked(url)
    assert event_ids(whole.content) == [f"evt_{n:08d}" for n in range(ROWS)]
    assert whole.headers["Content-Type"] == "application/gzip"
    assert f"{status['jobId']}.jsonl.gz" in whole.headers["Content-Disposition"]
    part = asked(url, Range="bytes=10-99", **{"If-Range": whole.headers["ETag"]})
    assert (part.status_code, part.content) == (206, whole.content[10:100])
    assert part.headers["Content-Range"] == f"bytes 10-99/{len(whole.content)}"
    head = asked(url, "HEAD")
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(whole.content)))
    again = asked(url, **{"If-None-Match": whole.headers["ETag"]})
    assert again.status_code == 304
    assert asked(status["files"][0]["url"]).content == whole.content
    assert asked(status["manifestUrl"]).json()["exportId"] == status["jobId"]
    fetched = fetch(UrlSource(url), tmp_path / "fetched.jsonl.gz")
    assert (fetched.checked, fetched.path.read_bytes()) == (True, whole.content)
    count, sent, _ = api.ledger.links.downloads(status["jobId"])
    assert count > 5
    assert sent > 3 * len(whole.content)
    assert asked(url[:-1] + ("A" if url[-1] != "A" else "Q"), onwards=False).status_code == 403
    api.ledger.links.revoke(status["jobId"], utc_now())
    assert asked(url, onwards=False).status_code == 410


def test_a_file_that_is_gone_from_the_store_is_told(api: Api) -> None:
    status = api.complete()
    objects.remove(api.settings.exports / "on_demand" / status["jobId"] / status["files"][0]["name"])
    answer = asked(status["downloadUrl"], onwards=False)
    assert answer.status_code == 500
    assert "is missing; export again" in answer.json()["error"]["message"]


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_a_file_of_several_objects_passes_through_the_api(api: Api, format: str, tmp_path: Path) -> None:
    status = api.complete(dataTypes=["events", "ads"], format=format)
    url = status["downloadUrl"]
    whole = asked(url, onwards=False)
    assert (whole.status_code, len(whole.content)) == (200, status["bytes"])
    part = asked(url, Range="bytes=100-", **{"If-Range": whole.headers["ETag"]})
    assert (part.status_code, part.content) == (206, whole.content[100:])
    if format == "jsonl":
        assert len(event_ids(whole.content)) == 2 * ROWS
    else:
        zipfile.ZipFile(io.BytesIO(whole.content)).extractall(tmp_path / "out")
        assert verify(tmp_path / "out").problems == ()
    job = api.ledger.jobs.get(status["jobId"], utc_now())
    fetched = fetch(LocalSource(published(api.settings, job)), tmp_path / "local")
    assert (fetched.checked, fetched.path.read_bytes()) == (True, whole.content)


def test_where_callers_cannot_reach_the_store_all_passes_through_the_api(
    serving: Serving, environment: dict[str, str]
) -> None:
    names = {name.removeprefix("EXPORT_PIPELINE_").lower(): value for name, value in environment.items()}
    api = serving(Path(names.pop("home")), s3_downloads="api", **names)
    status: dict[str, Any] = api.complete()
    answer = asked(status["downloadUrl"], onwards=False)
    assert (answer.status_code, len(event_ids(answer.content))) == (200, ROWS)
