"""Files behind signed URLs: whole, in parts, resumed, refused once changed, revoked or expired."""

import csv
import gzip
import hashlib
import io
import json
import sqlite3
import time
import zipfile
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from export_pipeline.days import midnight, utc_now
from export_pipeline.delivery.recurring import create
from export_pipeline.exports import verify
from export_pipeline.exports.editing import Edit
from export_pipeline.exports.rewriting import rewrite_job
from export_pipeline.exports.scheduled import run_now
from export_pipeline.exports.service import clear
from export_pipeline.operations.delivered import restate
from export_pipeline.privacy.matching import Needles
from export_pipeline.sizes import size
from export_pipeline_tests.api.conftest import ROWS, Api, Serving
from export_pipeline_tests.api.test_exports import EXPORT, refused
from export_pipeline_tests.exports.conftest import land_rows
from export_pipeline_tests.rows import row


def fetched(url: str, method: str = "GET", **headers: str) -> requests.Response:
    return requests.request(
        method, url, headers={name.replace("_", "-"): value for name, value in headers.items()}, timeout=60
    )


@pytest.fixture(scope="module")
def status(api: Api) -> dict[str, Any]:
    return api.complete(dataTypes=["ads", "events"])


def test_jsonl_is_one_file_with_the_types_in_the_order_asked(status: Mapping[str, Any]) -> None:
    answer = fetched(status["downloadUrl"])
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/gzip"
    assert "Content-Encoding" not in answer.headers
    assert f"{status['jobId']}.jsonl.gz" in answer.headers["Content-Disposition"]
    rows = [json.loads(line) for line in gzip.decompress(answer.content).splitlines()]
    assert [row["dataType"] for row in rows] == ["ads"] * ROWS + ["events"] * ROWS


def test_each_part_and_the_manifest_can_be_downloaded_alone(status: Mapping[str, Any]) -> None:
    manifest = fetched(status["manifestUrl"]).json()
    assert manifest["exportId"] == status["jobId"]
    for file in status["files"]:
        content = fetched(file["url"]).content
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
    assert [{k: v for k, v in file.items() if k != "url"} for file in status["files"]] == manifest["files"]


def test_csv_of_one_type_has_one_header_whatever_its_parts(serving: Serving, tmp_path: Path) -> None:
    api = serving(tmp_path / "home", part_bytes="1024", window_rows="7")
    for compression in ("gzip", "none"):
        status = api.complete(format="csv", compression=compression)
        assert len(status["files"]) > 2
        content = fetched(status["downloadUrl"]).content
        assert status["bytes"] == len(content)
        text = gzip.decompress(content) if compression == "gzip" else content
        rows = list(csv.DictReader(io.StringIO(text.decode(), newline="")))
        assert [row["eventId"] for row in rows] == [f"evt_{n:08d}" for n in range(ROWS)]


def test_csv_of_several_types_is_a_zip_that_can_be_verified(api: Api, tmp_path: Path) -> None:
    status = api.complete(dataTypes=["events", "ads"], format="csv")
    answer = fetched(status["downloadUrl"])
    assert answer.headers["Content-Type"] == "application/zip"
    assert status["bytes"] == len(answer.content)
    assert status["fileSize"] == size(len(answer.content))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        archive.extractall(tmp_path / "out")
    assert verify(tmp_path / "out").problems == ()


@pytest.mark.parametrize("values", [{}, {"format": "csv", "dataTypes": ["events", "ads"]}])
def test_any_part_of_the_file_can_be_asked_for(api: Api, values: dict[str, Any]) -> None:
    url = api.complete(**values)["downloadUrl"]
    whole = fetched(url)
    content, tag = whole.content, whole.headers["ETag"]
    length = len(content)
    for first, last in ((0, 0), (1, 99), (100, length - 1), (length - 1, length + 50)):
        answer = fetched(url, Range=f"bytes={first}-{last}", If_Range=tag)
        assert answer.status_code == 206
        assert answer.content == content[first : last + 1]
        assert answer.headers["Content-Range"] == f"bytes {first}-{min(last, length - 1)}/{length}"
    assert fetched(url, Range="bytes=-10").content == content[-10:]
    assert fetched(url, Range=f"bytes={length - 5}-").content == content[-5:]
    for beyond in (f"bytes={length}-", "bytes=-0"):
        answer = fetched(url, Range=beyond)
        assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{length}")
    for nothing in ("bytes=9-2", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b"):
        assert fetched(url, Range=nothing).status_code == 200
    other = fetched(url, Range="bytes=5-", If_Range='"another"')
    assert (other.status_code, other.content) == (200, content)


def test_a_file_that_is_there_already_is_not_sent_again(status: Mapping[str, Any]) -> None:
    head = fetched(status["downloadUrl"], "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) == len(fetched(status["downloadUrl"]).content)
    again = fetched(status["downloadUrl"], If_None_Match=head.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url[:-1] + ("A" if url[-1] != "A" else "Q"),
        lambda url: url.replace("expires=1", "expires=2"),
        lambda url: url.replace(".jsonl.gz?", ".csv?"),
        lambda url: url.replace("/exp_", "/..%2fexp_"),
        lambda url: url.replace("/exp_", "/../../../ledger.db%00exp_"),
        lambda url: url.replace("/lnk_", "/lnk_0"),
        lambda url: url.partition("&signature")[0],
        lambda url: url.partition("?")[0],
        lambda url: url + "&expires=9999999999",
        lambda url: url + "&name=x",
        lambda url: url + "%ff",
    ],
)
def test_a_changed_url_is_forbidden(status: Mapping[str, Any], change: Any) -> None:
    url = change(status["downloadUrl"])
    # As a prepared URL, so that the client does not tidy the path.
    request = requests.Request("GET", url).prepare()
    request.url = url
    with requests.Session() as session:
        answer = session.send(request, timeout=60)
    assert answer.status_code in (403, 404) if "/../" in url else answer.status_code == 403
    if answer.status_code == 403:
        assert refused(answer)[:2] == (403, "FORBIDDEN")


def test_a_revoked_url_is_gone_and_a_fresh_one_works(api: Api) -> None:
    status = api.complete()
    path = f"{EXPORT}/{status['jobId']}/links"
    fresh = api.post(path).json()["data"]["downloadUrl"]
    assert fresh != status["downloadUrl"]
    assert [fetched(url).status_code for url in (fresh, status["downloadUrl"])] == [200, 200]
    newest = api.post(path, json={"revokePrevious": True}).json()["data"]["downloadUrl"]
    assert fetched(newest).status_code == 200
    for old in (fresh, status["downloadUrl"]):
        assert refused(fetched(old))[:2] == (410, "GONE")


def test_revoking_needs_the_right_to_write(api: Api) -> None:
    path = f"{EXPORT}/{api.complete()['jobId']}/links"
    reader = api.new_key("exports:read")
    assert api.post(path, key=reader).status_code == 200
    assert refused(api.post(path, key=reader, json={"revokePrevious": True})) == (403, "FORBIDDEN", "scope")
    assert refused(api.post(path, json={"revokePrevious": 1})) == (400, "VALIDATION_ERROR", "revokePrevious")


def test_after_an_erasure_the_urls_are_gone_and_the_status_leads_to_the_files_that_were_made_again(
    api: Api,
) -> None:
    status = api.complete(dataTypes=["ads", "events"], format="csv")
    user = "user_00000001"
    edit = Edit([user], Needles([user]), Needles([user]))
    [_] = rewrite_job(
        api.settings, api.ledger, status["jobId"], edit, lambda day: day.data_version, now=utc_now()
    )
    for name in ("downloadUrl", "manifestUrl"):
        assert refused(fetched(status[name]))[:2] == (410, "GONE")
    again = api.status(status["jobId"])
    answer = fetched(again["downloadUrl"])
    assert user.encode() not in answer.content
    assert answer.headers["ETag"] != f'"{status["files"][0]["sha256"]}"'
    assert (again["bytes"], again["expiresAt"]) == (len(answer.content), status["expiresAt"])
    assert again["rowCount"] == status["rowCount"] * 4 // 5
    manifest = fetched(again["manifestUrl"]).json()
    assert (manifest["version"], manifest["replaces"]["rowsRemoved"]) == (2, status["rowCount"] // 5)


def test_a_url_leads_to_the_version_it_was_made_for_until_an_erasure_makes_another(
    serving: Serving, tmp_path: Path
) -> None:
    api = serving(tmp_path / "home", close_delay_minutes="0")
    settings, store, ledger = api.settings, api.store, api.ledger
    asked = {"frequency": "daily", "delivery": {"email": "data@example.com"}}
    schedule, _ = create(settings, ledger, asked, utc_now(), created_by="command")
    job = run_now(settings, store, ledger, schedule.id, utc_now(), lambda _: ())
    api.work(job.id)
    first = api.status(job.id)
    whole = fetched(first["downloadUrl"]).content
    noon = midnight(date.fromisoformat(api.yesterday)) + timedelta(hours=12)
    land_rows(store, ledger, [row(77, timestamp=noon)], "events")
    assert restate(settings, store, ledger, job.id, now=utc_now() + timedelta(hours=1)) is not None
    second = api.status(job.id)
    assert second["rowCount"] == first["rowCount"] + 1
    assert fetched(first["downloadUrl"]).content == whole
    assert fetched(first["manifestUrl"]).json()["version"] == 1
    assert fetched(second["manifestUrl"]).json()["version"] == 2
    assert fetched(second["downloadUrl"]).headers["Link"] != fetched(first["downloadUrl"]).headers["Link"]
    clear(settings, ledger, utc_now())
    assert fetched(first["downloadUrl"]).content == whole
    edit = Edit(["user_00000001"], Needles(["user_00000001"]), Needles(["user_00000001"]))
    [_] = rewrite_job(settings, ledger, job.id, edit, lambda day: day.data_version, now=utc_now())
    for status in (first, second):
        assert refused(fetched(status["downloadUrl"]))[:2] == (410, "GONE")
    assert fetched(api.status(job.id)["manifestUrl"]).json()["version"] == 3


def test_only_a_complete_job_has_links(api: Api) -> None:
    assert refused(api.post(f"{EXPORT}/{api.ask()}/links")) == (409, "CONFLICT", "jobId")


def test_after_its_time_the_file_is_gone(api: Api) -> None:
    status = api.complete()
    past = utc_now() - timedelta(seconds=1)
    with sqlite3.connect(api.settings.root / "ledger.db") as connection:
        connection.execute(
            "update jobs set expires_at = ? where id = ?",
            (past.strftime("%Y-%m-%d %H:%M:%S.%f"), status["jobId"]),
        )
    connection.close()
    assert refused(fetched(status["downloadUrl"]))[:2] == (410, "GONE")
    assert "downloadUrl" not in api.status(status["jobId"])
    assert api.status(status["jobId"])["status"] == "expired"
    assert refused(api.post(f"{EXPORT}/{status['jobId']}/links"))[:2] == (410, "GONE")


def test_a_url_ends_with_its_own_time(api: Api) -> None:
    status = api.complete()
    link = api.ledger.links.create(status["jobId"], utc_now() - timedelta(seconds=1), utc_now())
    from export_pipeline.delivery.links import HmacSigner

    url = HmacSigner(api.settings, api.url).url(link, "manifest.json")
    assert refused(fetched(url))[:2] == (410, "GONE")


def test_downloads_are_logged_with_their_bytes(api: Api) -> None:
    status = api.complete()
    length = len(fetched(status["downloadUrl"]).content)
    fetched(status["downloadUrl"], Range="bytes=0-9")
    fetched(status["downloadUrl"], "HEAD")
    for _ in range(100):  # the end is noted after the last byte is out
        count, sent, last = api.ledger.links.downloads(status["jobId"])
        if sent == length + 10:
            break
        time.sleep(0.05)
    assert (count, sent) == (2, length + 10)
    assert last is not None
    assert last <= utc_now()


def test_a_url_leads_to_the_address_the_operator_gives(serving: Serving, tmp_path: Path) -> None:
    api = serving(tmp_path / "home", public_url="https://exports.example.com/api")
    url = api.complete()["downloadUrl"]
    assert url.startswith("https://exports.example.com/api/v1/downloads/")
    parts = urlsplit(url.replace("https://exports.example.com/api", api.url))
    assert fetched(parts.geturl()).status_code == 200


def test_a_damaged_file_breaks_off_and_never_looks_whole(api: Api) -> None:
    status = api.complete()
    part = api.settings.exports / "on_demand" / status["jobId"] / status["files"][0]["name"]
    part.unlink()
    assert refused(fetched(status["downloadUrl"]))[:2] == (500, "INTERNAL_ERROR")
