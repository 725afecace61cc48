"""A deployment of its own for each test: settings on an empty state root, its store and ledger."""

import os
import time
from pathlib import Path

import pytest

from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store

# The machine's zone must not matter: all times are UTC.
os.environ["TZ"] = "America/New_York"
time.tzset()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"EXPORT_PIPELINE_HOME": str(tmp_path / "home"), "EXPORT_PIPELINE_WORKERS": "2"})


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store(settings)


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return Ledger(settings)
