"""Presigned URLs against a real S3 store: they work, in parts too, and no longer once changed or expired."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from export_pipeline.delivery.links import Target
from export_pipeline.delivery.s3 import S3Signer
from export_pipeline.errors import Gone
from export_pipeline.ledger.links import Link

pytestmark = pytest.mark.system

CONTENT = bytes(range(256)) * 10
TARGET = Target("on_demand/exp_1", "events/part-00000.jsonl.gz")


def url(s3: Any, lifetime: timedelta, now: datetime | None = None) -> str:
    now = now or datetime.now(UTC)
    s3.put_object(Bucket="exports", Key="exports/on_demand/exp_1/events/part-00000.jsonl.gz", Body=CONTENT)
    link = Link("lnk_1", "exp_1", now, now + lifetime, None)
    return S3Signer(s3, "exports", "exports/").url(link, TARGET, now)


def test_the_store_gives_the_file_with_its_name_and_type(s3: Any) -> None:
    answer = requests.get(url(s3, timedelta(days=7)), timeout=30)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["Content-Type"] == "application/gzip"
    assert "events-part-00000.jsonl.gz" in answer.headers["Content-Disposition"]
    part = requests.get(url(s3, timedelta(days=7)), headers={"Range": "bytes=100-199"}, timeout=30)
    assert (part.status_code, part.content) == (206, CONTENT[100:200])


def test_a_link_of_more_than_7_days_is_signed_for_7(s3: Any) -> None:
    signed = url(s3, timedelta(days=30))
    assert "X-Amz-Expires=604800" in signed
    assert requests.get(signed, timeout=30).status_code == 200


@pytest.mark.parametrize("change", [("part-00000", "part-00001"), ("Expires=604800", "Expires=604799")])
def test_a_changed_url_is_forbidden(s3: Any, change: tuple[str, str]) -> None:
    assert requests.get(url(s3, timedelta(days=7)).replace(*change), timeout=30).status_code == 403


def test_an_expired_url_is_forbidden(s3: Any) -> None:
    signed = url(s3, timedelta(seconds=1))
    time.sleep(2.5)
    assert requests.get(signed, timeout=30).status_code == 403


def test_no_url_is_signed_for_a_link_that_has_expired(s3: Any) -> None:
    with pytest.raises(Gone):
        url(s3, timedelta(0))
