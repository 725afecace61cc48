"""The deployment as a Dagster resource, and who owns its assets."""

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
