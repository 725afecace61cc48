"""The deployment as a Dagster resource, its object store as another, and who owns its assets."""

from collections.abc import Mapping
from functools import cached_property

from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store

OWNERS = ["team:data-platform"]


class Deployment:
    """Settings, store and ledger of the deployment; the last two are opened on first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def store(self) -> Store:
        """The tables of events and people."""
        return Store(self.settings)

    @cached_property
    def ledger(self) -> Ledger:
        """Batches and data versions."""
        return Ledger(self.settings)


def object_store(settings: Settings) -> Mapping[str, object]:
    """The resource ``s3`` where data is kept in S3: a client of the same store, for assets beside these."""
    if not settings.object_store:
        return {}
    from dagster_aws.s3 import S3Resource  # takes long to load, and most deployments have no use for it

    return {
        "s3": S3Resource(
            endpoint_url=settings.s3_endpoint or None, region_name=settings.s3_region or None, max_attempts=8
        )
    }
