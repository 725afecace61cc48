"""The daily metrics as charts, tables and CSV."""

import csv
import re
from datetime import date, timedelta

import pytest

from export_pipeline.days import days_between, utc_now
from export_pipeline.portal.charts import QUANTITIES, WIDTH, chart
from export_pipeline.retention.metrics import DayTotals, compute_day
from export_pipeline_tests.portal.conftest import Portal, texts

DAY = date(2026, 3, 1)


@pytest.fixture(scope="session")
def counted(_filled: Portal) -> Portal:
    """The portal with rows, with the metrics of its day."""
    day = date.fromisoformat(_filled.yesterday)
    compute_day(_filled.settings, _filled.store, _filled.ledger, day, utc_now())
    return _filled


def totals(*plays: int | None) -> list[DayTotals]:
    """Days from ``DAY`` on; None leaves one out."""
    return [
        DayTotals(DAY + timedelta(days=n), count, 0.5 if count else None, None, 60.0 * count, 1)
        for n, count in enumerate(plays)
        if count is not None
    ]


def test_without_metrics_the_page_says_when_there_will_be_some(portal: Portal) -> None:
    portal.log_in()
    page = portal.get("/overview")
    assert "There are no daily metrics yet" in texts(page)
    assert "/portal/status" in page.text


def test_every_metric_has_a_chart_a_table_and_a_column(counted: Portal, inside: Portal) -> None:
    page = inside.get("/overview")
    assert page.status_code == 200
    assert page.text.count('<svg class="chart"') == len(QUANTITIES)
    assert not re.search(r"\sstyle=|<style", page.text)
    answer = inside.get("/overview/metrics.csv")
    assert "attachment" in answer.headers["content-disposition"]
    [row] = csv.DictReader(answer.text.splitlines())
    assert row["date"] == counted.yesterday
    assert list(row) == ["date", *(quantity.name for quantity in QUANTITIES)]
    assert re.search(rf"Plays {counted.yesterday} {int(row['plays']):,} ", texts(page))
    assert inside.ledger.audit.list()[0][0].action == "downloaded daily metrics"


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        ("2026-03-02", "2026-03-01", "endDate"),
        ("2026-01-01", "2026-06-01", "endDate"),
        ('"><script>alert(1)</script>', "2026-03-01", "startDate"),
    ],
)
def test_a_wrong_range_is_told_at_its_field(
    counted: Portal, inside: Portal, start: str, end: str, field: str
) -> None:
    answer = inside.get("/overview", params={"startDate": start, "endDate": end})
    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text
    assert "<script>alert" not in answer.text
    assert inside.get("/overview/metrics.csv", params={"startDate": start, "endDate": end}).status_code != 200


def test_days_without_metrics_are_said_and_not_drawn(counted: Portal, inside: Portal) -> None:
    page = inside.get("/overview", params={"startDate": "2025-03-01", "endDate": "2025-03-05"})
    assert "No day from 2025-03-01 to 2025-03-05 has metrics" in texts(page)


def test_a_gap_breaks_the_line_and_rates_count_by_plays() -> None:
    found = totals(10, 20, None, 0, 30)
    days = list(days_between(DAY, DAY + timedelta(days=4)))
    rate = chart(QUANTITIES[1], days, found)
    assert [len(line.split()) for line in rate.lines] == [2, 1]
    assert rate.overall == "50.0 %"
    plays = chart(QUANTITIES[0], days, found)
    assert plays.overall == "60"
    assert [tick.label for tick in plays.values] == ["0", "15", "30"]
    heights = [plays.base - mark.y for mark in plays.marks]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2)
    assert all(plays.left < mark.x < WIDTH for mark in plays.marks)
    hours = chart(QUANTITIES[2], days, totals(100, 200))
    assert [tick.label for tick in hours.values] == ["0 h", "2 h", "4 h"]
    assert chart(QUANTITIES[3], days, found).marks == ()
