"""Exports whose windows are made by the workers of a real Dask cluster: the same bytes, whatever dies."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest

from export_pipeline.errors import TransientError
from export_pipeline.exports import export_day
from export_pipeline.exports.executors import Cluster
from export_pipeline.exports.verification import export_problems
from export_pipeline.ledger import Ledger
from export_pipeline.objects import files_below
from export_pipeline.settings import load
from export_pipeline.store import Store
from export_pipeline_tests import dask
from export_pipeline_tests.exports.conftest import NOW, Land
from export_pipeline_tests.exports.encoded import DAY, at
from export_pipeline_tests.rows import row

SMALL = {"EXPORT_PIPELINE_WINDOW_ROWS": "40", "EXPORT_PIPELINE_PART_BYTES": "20000"}


@pytest.fixture
def cluster() -> Iterator[dask.Cluster]:
    """One of its own, as a worker of it is killed."""
    with dask.running() as there:
        yield there


@pytest.mark.backends("s3")
def test_the_bytes_are_those_that_threads_make_and_a_worker_may_be_killed(
    land: Land, environment: dict[str, str], ledger: Ledger, store: Store, cluster: dask.Cluster
) -> None:
    address, workers = cluster.address, cluster.workers
    land([row(n, timestamp=at(0) + timedelta(seconds=n * 20)) for n in range(2000)])
    alone = load({**environment, **SMALL})
    together = load({**environment, **SMALL, "EXPORT_PIPELINE_SCHEDULER": address})
    for number, format in enumerate(("csv", "jsonl")):
        made = export_day("events", format, DAY, settings=alone, store=store, ledger=ledger, now=NOW)
        expected = {file.name: (made.path / file.name).read_bytes() for file in made.manifest.files}
        assert len(expected) > 2
        (made.path / made.manifest.files[0].name).write_bytes(b"")
        if number and workers[0].poll() is None:
            threading.Timer(0.3, workers[0].kill).start()
        again = export_day("events", format, DAY, settings=together, store=store, ledger=ledger, now=NOW)
        assert again.created
        assert again.manifest.files == made.manifest.files
        assert {name: (again.path / name).read_bytes() for name in expected} == expected
        assert export_problems(again.path) == []
        assert list(files_below(together.exports / ".making")) == []


@pytest.mark.backends("s3")
def test_when_all_workers_are_lost_an_export_fails_to_be_tried_again_and_nothing_stays(
    land: Land,
    environment: dict[str, str],
    ledger: Ledger,
    store: Store,
    cluster: dask.Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("export_pipeline.exports.executors._PATIENCE_SECONDS", 2)
    submit = Cluster.submit

    def submitted(executor: Cluster, *args: Any) -> Future[Any]:
        for worker in cluster.workers:
            worker.kill()
        return submit(executor, *args)

    monkeypatch.setattr(Cluster, "submit", submitted)
    land([row(1)])
    settings = load({**environment, "EXPORT_PIPELINE_SCHEDULER": cluster.address})
    with pytest.raises(TransientError, match="workers that make exports were lost"):
        export_day("events", "jsonl", DAY, settings=settings, store=store, ledger=ledger, now=NOW)
    assert [path for path, _, _ in files_below(settings.exports) if path.suffix == ".json"] == []
    assert list(files_below(settings.exports / ".making")) == []


def test_a_scheduler_that_is_not_there_is_told_and_nothing_stays(
    land: Land, environment: dict[str, str], ledger: Ledger, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export_pipeline.exports.executors._PATIENCE_SECONDS", 1)
    land([row(1)])
    settings = load({**environment, "EXPORT_PIPELINE_SCHEDULER": "tcp://127.0.0.1:9"})
    with pytest.raises(TransientError, match="does not answer"):
        export_day("events", "jsonl", DAY, settings=settings, store=store, ledger=ledger, now=NOW)
    assert list(settings.exports.rglob("*.json")) == []
