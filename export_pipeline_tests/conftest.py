"""A deployment of its own for each test: settings on an empty state root, its store and ledger.

``@pytest.mark.backends("s3", "postgres", "s3+postgres+dask")`` runs a test on the embedded default and on
each backend named; on a test, the mark is instead of that of its module.
"""

import gc
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings, load
from export_pipeline.store import Store
from export_pipeline_tests import dask, faultproxy, objectstore, postgres
from export_pipeline_tests.faultproxy import FaultProxy
from export_pipeline_tests.objectstore import ObjectStore

EMBEDDED = "embedded"

# The machine's zone must not matter: all times are UTC.
os.environ["TZ"] = "America/New_York"
time.tzset()

# Set before any process is started: those that tests kill are forked from one that is started early.
os.environ |= {
    "AWS_ACCESS_KEY_ID": objectstore.KEY,
    "AWS_SECRET_ACCESS_KEY": objectstore.SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def pytest_collection_finish() -> None:
    """Look for no garbage among modules and tests, which are most of what there is and stay."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or DuckDB tells of leaks


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on the backends it is marked with; what has no deployment runs once."""
    mark = metafunc.definition.get_closest_marker("backends")
    if mark and "backend" in metafunc.fixturenames:
        others = [pytest.param(name, marks=pytest.mark.system) for name in mark.args]
        metafunc.parametrize("backend", [EMBEDDED, *others], indirect=True)


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A real S3 store."""
    with objectstore.running(tmp_path_factory.mktemp("s3")) as store:
        yield store


@pytest.fixture(scope="session")
def s3(object_store: ObjectStore) -> Any:
    """A boto3 client of the S3 store."""
    return object_store.client


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """A real PostgreSQL server."""
    with postgres.running() as server:
        yield server


@pytest.fixture
def database(postgres_server: postgres.Server) -> Iterator[str]:
    """The address of a new PostgreSQL database with the ledger's tables."""
    url = postgres_server.new()
    yield url
    postgres_server.retire(url)


@pytest.fixture(scope="session")
def cluster() -> Iterator[dask.Cluster]:
    """A real Dask cluster with two workers."""
    with dask.running() as there:
        yield there


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """What the deployment runs on."""
    return str(getattr(request, "param", EMBEDDED))


@pytest.fixture
def environment(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of the deployment, as variables."""
    variables = {
        "EXPORT_PIPELINE_HOME": str(tmp_path / "home"),
        "EXPORT_PIPELINE_WORKERS": "2",
        "EXPORT_PIPELINE_SMTP_HOST": "localhost",  # where nothing listens for mail
    }
    parts = backend.split("+")
    if "postgres" in parts:
        variables["EXPORT_PIPELINE_DATABASE"] = request.getfixturevalue("database")
    if "s3" in parts:
        store: ObjectStore = request.getfixturevalue("object_store")
        variables |= {
            "EXPORT_PIPELINE_OBJECT_STORE": f"s3://{objectstore.BUCKET}/{uuid.uuid4().hex}",
            "EXPORT_PIPELINE_S3_ENDPOINT": store.url,
            "EXPORT_PIPELINE_S3_REGION": "us-east-1",
        }
    if "dask" in parts:
        there: dask.Cluster = request.getfixturevalue("cluster")
        variables["EXPORT_PIPELINE_SCHEDULER"] = there.address
    return variables


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    return load(environment)


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store(settings)


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded database with the ledger's tables and no rows, which is faster to copy than to make."""
    home = tmp_path_factory.mktemp("ledger")
    Ledger(load({"EXPORT_PIPELINE_HOME": str(home)}))._engine.dispose()
    return home / "ledger.db"


@pytest.fixture
def ledger(settings: Settings, empty_ledger: Path) -> Ledger:
    place = settings.root / empty_ledger.name
    if not settings.database and not place.exists():
        settings.root.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(empty_ledger, place)
    return Ledger(settings)


@pytest.fixture
def proxy(object_store: ObjectStore) -> Iterator[FaultProxy]:
    """What lies between a test and the object store, and can do harm."""
    with faultproxy.running(urlsplit(object_store.url).port or 0, seed=7) as running:
        yield running
