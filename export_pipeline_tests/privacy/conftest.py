"""People with rows of all kinds in a real store and ledger, and their archives read back."""

import json
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.ledger import Job, Ledger
from export_pipeline.privacy.access import Access
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import NOW, Land, land_rows

__all__ = ["Land"]


@pytest.fixture
def land(store: Store, ledger: Ledger) -> Land:
    """Store rows as one committed batch; returns its sequence number."""

    def landed(rows: Any, data_type: str = "events") -> int:
        return land_rows(store, ledger, rows, data_type)

    return landed


@pytest.fixture
def access(settings: Settings, store: Store, ledger: Ledger) -> Access:
    """Makes access exports a day after the rows of the tests."""
    return Access(settings, store, ledger, clock=lambda: NOW)


@dataclass(frozen=True)
class Archive:
    """What is in an archive."""

    path: Path

    def read(self, name: str) -> bytes:
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(name)

    def json(self, name: str) -> Any:
        return json.loads(self.read(name))

    def rows(self, data_type: str = "engagement") -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.read(f"{data_type}_events.jsonl").splitlines()]

    @property
    def page(self) -> str:
        return self.read("index.html").decode()


Made = Callable[[str], Archive]


@pytest.fixture
def made(settings: Settings, access: Access) -> Made:
    """The archive of a person."""

    def archive(user_id: str) -> Archive:
        return archive_of(settings, access.make(user_id, "command"))

    return archive


def archive_of(settings: Settings, job: Job) -> Archive:
    assert job.path is not None
    return Archive(settings.exports / job.path)


def by_type(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows by the data type that a test wrote into them."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for each in rows:
        found[each["dataType"]].append({name: value for name, value in each.items() if name != "dataType"})
    return found
