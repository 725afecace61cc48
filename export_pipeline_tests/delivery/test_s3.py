"""Presigned URLs against a real S3 store: they work, in parts too, and no longer once changed or expired."""

import time
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
import requests
from upath import UPath

from export_pipeline import objects
from export_pipeline.delivery.s3 import LASTS, Presigner
from export_pipeline.settings import Settings

pytestmark = pytest.mark.system

CONTENT = bytes(range(256)) * 10


@pytest.fixture
def backend() -> str:
    return "s3"


@pytest.fixture
def part(settings: Settings) -> UPath:
    path = settings.exports / "on_demand" / "exp_1" / "events" / "part-00000.jsonl.gz"
    objects.write(path, CONTENT)
    return path


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_store_gives_the_file_with_its_name_and_type(
    settings: Settings, part: UPath, method: str
) -> None:
    answer = requests.request(method, Presigner(settings).url(part, "exp_1.jsonl.gz", method), timeout=30)
    assert (answer.status_code, answer.content) == (200, CONTENT if method == "GET" else b"")
    assert answer.headers["Content-Type"] == "application/gzip"
    assert "exp_1.jsonl.gz" in answer.headers["Content-Disposition"]
    assert answer.headers["ETag"].startswith('"')


def test_a_part_of_it_can_be_asked_for(settings: Settings, part: UPath) -> None:
    url = Presigner(settings).url(part, "exp_1.jsonl.gz")
    answer = requests.get(url, headers={"Range": "bytes=100-199"}, timeout=30)
    assert (answer.status_code, answer.content) == (206, CONTENT[100:200])


@pytest.mark.parametrize("change", [("part-00000", "part-00001"), ("Expires=600", "Expires=601")])
def test_a_changed_url_is_forbidden(settings: Settings, part: UPath, change: tuple[str, str]) -> None:
    url = Presigner(settings).url(part, "exp_1.jsonl.gz")
    assert change[0] in url
    assert requests.get(url.replace(*change), timeout=30).status_code == 403


def test_an_expired_url_is_forbidden(settings: Settings, part: UPath) -> None:
    url = Presigner(settings).url(part, "exp_1.jsonl.gz", lasts=timedelta(seconds=1))
    time.sleep(2.5)
    assert requests.get(url, timeout=30).status_code == 403


def test_it_leads_to_where_those_who_download_reach_the_store(settings: Settings, part: UPath) -> None:
    outside = settings.model_copy(update={"s3_public_endpoint": "https://files.example.com"})
    url = urlsplit(Presigner(outside).url(part, "exp_1.jsonl.gz"))
    assert (url.scheme, url.netloc) == ("https", "files.example.com")
    assert f"X-Amz-Expires={int(LASTS.total_seconds())}" in url.query
