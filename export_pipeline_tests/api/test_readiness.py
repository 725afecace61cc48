"""Whether the server says that it can work while its bucket is gone, refuses access, or does not answer."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from export_pipeline_tests.api.conftest import Api, Serving
from export_pipeline_tests.faultproxy import DENIED, FaultProxy

pytestmark = pytest.mark.system

READY = {"ledger": "ok", "store": "ok", "exports": "ok", "root": "ok"}
NOT_READY = {**READY, "store": "failed", "exports": "failed"}


@pytest.fixture
def bucket(s3: Any) -> Iterator[str]:
    name = f"ready-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name)
    yield name
    with suppress(s3.exceptions.NoSuchBucket):
        remove(s3, name)


@pytest.fixture
def api(serving: Serving, tmp_path: Path, bucket: str, proxy: FaultProxy) -> Iterator[Api]:
    yield serving(
        tmp_path / "home",
        object_store=f"s3://{bucket}/data",
        s3_endpoint=proxy.url,
        s3_region="us-east-1",
    )
    proxy.share, proxy.down = 0.0, False


def readiness(api: Api) -> tuple[int, dict[str, str]]:
    answer = api.get("/readyz")
    return answer.status_code, answer.json()["checks"]


def remove(s3: Any, bucket: str) -> None:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", ()):
            s3.delete_object(Bucket=bucket, Key=found["Key"])
    s3.delete_bucket(Bucket=bucket)


def test_without_its_bucket_it_is_not_ready_and_lives(api: Api, s3: Any, bucket: str) -> None:
    assert readiness(api) == (200, READY)
    remove(s3, bucket)
    assert readiness(api) == (503, NOT_READY)
    assert api.get("/healthz").status_code == 200


def refuse(proxy: FaultProxy) -> None:
    proxy.faults, proxy.share = (DENIED,), 1.0


def go(proxy: FaultProxy) -> None:
    proxy.down = True


@pytest.mark.parametrize("harm", [refuse, go])
def test_while_its_store_refuses_access_or_is_gone_it_is_not_ready(
    api: Api, proxy: FaultProxy, harm: Callable[[FaultProxy], None]
) -> None:
    harm(proxy)
    assert readiness(api) == (503, NOT_READY)
    assert api.get("/healthz").status_code == 200
    proxy.share, proxy.down = 0.0, False
    assert readiness(api) == (200, READY)
