"""Metrics and an erasure: computed again without the person while the events are kept, and standing after."""

import pytest

from export_pipeline.ledger import Ledger
from export_pipeline.privacy.erasing import take_step
from export_pipeline.privacy.requests import request_erasures
from export_pipeline.retention import retain
from export_pipeline.retention.metrics import compute_day, due_metrics
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import land_rows
from export_pipeline_tests.retention.conftest import NOW, TODAY, ago, noon
from export_pipeline_tests.retention.test_metrics import cells, play
from export_pipeline_tests.rows import row

DAY = ago(1)
USER = "user_00000001"


@pytest.fixture(autouse=True)
def _plays(settings: Settings, store: Store, ledger: Ledger) -> None:
    users = [USER, *(f"user_0000001{n}" for n in range(6))]
    land_rows(store, ledger, [play("a", user) for user in users], "events")
    old = [row(n, userId=USER, timestamp=noon(ago(90)), eventId=f"old{n}") for n in range(3)]
    land_rows(store, ledger, old, "events")
    for day in (ago(90), DAY):
        compute_day(settings, store, ledger, day, NOW)


def erase(settings: Settings, store: Store, ledger: Ledger) -> None:
    [request] = request_erasures(ledger, [USER], now=NOW, created_by="command")
    for step in ("resolve", "suppress", "erase_store"):
        take_step(settings, store, ledger, request.id, step, NOW)


def test_an_erasure_makes_the_days_of_a_person_due_and_they_lose_the_person(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    assert cells(settings, store, DAY)["a", "ios"]["uniqueViewers"] == 7
    erase(settings, store, ledger)
    assert due_metrics(settings, ledger, NOW, lambda _: ()) == [ago(90), DAY]
    for day in (ago(90), DAY):
        compute_day(settings, store, ledger, day, NOW)
    assert cells(settings, store, DAY)["a", "ios"]["uniqueViewers"] == 6
    assert cells(settings, store, ago(90)) == {}
    assert due_metrics(settings, ledger, NOW, lambda _: ()) == []


def test_metrics_of_days_that_are_gone_stay_as_they_were(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    before = cells(settings, store, ago(90))
    tomorrow = noon(TODAY).replace(day=TODAY.day + 1)
    retain(settings, store, ledger, tomorrow)
    erase(settings, store, ledger)
    assert ago(90) not in due_metrics(settings, ledger, tomorrow, lambda _: ())
    assert cells(settings, store, ago(90)) == before
    assert before


def test_a_content_named_like_the_person_loses_its_name_in_metrics_that_stay(
    settings: Settings, store: Store, ledger: Ledger
) -> None:
    plays = [play(USER, f"user_0000002{n}") for n in range(5)]
    land_rows(store, ledger, plays, "events")
    compute_day(settings, store, ledger, DAY, NOW)
    assert (USER, "ios") in cells(settings, store, DAY)
    erase(settings, store, ledger)
    found = cells(settings, store, DAY)
    assert found["[erased]", "ios"]["uniqueViewers"] == 5
    assert found["a", "ios"]["plays"] == 7
    files = list((settings.store / "export_pipeline" / "daily_metrics").rglob("*.parquet"))
    assert not [path for path in files if USER.encode() in path.read_bytes()]
