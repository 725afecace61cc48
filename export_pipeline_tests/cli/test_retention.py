"""Retention from the command line: what goes, what would go, and wrong instants."""

from datetime import timedelta

import pytest

from export_pipeline.days import utc_now
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.cli.conftest import Run
from export_pipeline_tests.exports.conftest import land_rows
from export_pipeline_tests.rows import row

DAYS = 95


@pytest.fixture(autouse=True)
def _old_rows(settings: Settings) -> None:
    at = utc_now() - timedelta(days=DAYS)
    rows = [row(n, timestamp=at) for n in range(4)]
    land_rows(Store(settings), Ledger(settings), rows, "events")


def test_what_would_go_is_shown_and_stays_until_it_is_removed(run: Run) -> None:
    shown = run("retention", "--dry-run", "--json").document["removed"]["engagement_events"]
    assert (shown["rows"], list(shown)) == (4, ["rows", "files", "bytes"])
    assert run("query", "select count(*) as n from engagement_events", "--json").document == [{"n": 4}]
    assert run("retention", "--json").document["removed"]["engagement_events"] == shown
    assert run("query", "select count(*) as n from engagement_events", "--json").document == [{"n": 0}]
    told = run("retention").out.splitlines()
    assert told[0].split() == ["removed", "rows", "files", "size"]


def test_it_can_be_judged_as_of_another_instant(run: Run) -> None:
    earlier = f"{utc_now() - timedelta(days=6):%Y-%m-%dT%H:%M:%SZ}"
    assert run("retention", "--now", earlier, "--json").document["removed"]["engagement_events"]["rows"] == 0


@pytest.mark.parametrize(
    "instant", ["", "yesterday", "2026-11-23", "2026-11-23T04:00:00", "2026-13-23T04:00:00Z"]
)
def test_an_instant_without_its_zone_is_a_wrong_call(run: Run, instant: str) -> None:
    refused = run("retention", "--now", instant)
    assert (refused.code, refused.out) == (2, "")
    assert "--now is" in refused.err
    assert "with its zone" in refused.err
