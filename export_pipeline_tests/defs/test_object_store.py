"""The object store as a Dagster resource: there where data is kept in S3, and a client of that store."""

import pytest
from dagster_aws.s3 import S3Resource

from export_pipeline.definitions import build_defs
from export_pipeline.settings import load
from export_pipeline_tests.objectstore import BUCKET


@pytest.mark.backends("s3")
def test_the_resource_reaches_the_bucket_of_the_deployment(environment: dict[str, str], backend: str) -> None:
    resources = build_defs(settings=load(environment)).resources or {}
    assert ("s3" in resources) == (backend == "s3")
    if backend == "s3":
        found = resources["s3"]
        assert isinstance(found, S3Resource)
        assert found.get_client().head_bucket(Bucket=BUCKET)["ResponseMetadata"]["HTTPStatusCode"] == 200
