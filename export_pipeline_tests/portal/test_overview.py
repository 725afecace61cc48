"""The daily metrics as charts, tables and CSV."""

import csv
import re
from datetime import date, timedelta
from itertools import pairwise

import pytest

from export_pipeline.days import utc_now
from export_pipeline.portal import held_totals
from export_pipeline.portal.bins import bins
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
        ("2020-01-01", "2026-06-01", "endDate"),
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


@pytest.mark.parametrize(
    ("days", "word", "count", "second"),
    [
        (92, "day", 92, "2026-03-02"),
        (93, "week", 15, "2026-03-02"),
        (730, "month", 24, "2026-04"),
        (36_500, "year", 101, "2027"),
    ],
)
def test_a_long_range_is_cut_into_the_finest_bins_that_a_page_holds(
    days: int, word: str, count: int, second: str
) -> None:
    last = DAY + timedelta(days=days - 1)
    unit, found = bins(DAY, last)
    assert (unit.word, len(found), found[1].label) == (word, count, second)
    assert (found[0].first, found[-1].last) == (DAY, last)
    assert all(a.last + timedelta(days=1) == b.first for a, b in pairwise(found))


def test_two_years_are_shown_by_the_month_and_downloaded_by_the_day(counted: Portal, inside: Portal) -> None:
    first = date.fromisoformat(counted.yesterday) - timedelta(days=729)
    days = {"startDate": str(first), "endDate": counted.yesterday}
    page = texts(inside.get("/overview", params=days))
    assert "The charts go by the month" in page
    [row] = csv.DictReader(inside.get("/overview/metrics.csv", params=days).text.splitlines())
    assert row["date"] == counted.yesterday
    assert f"{counted.yesterday[:7]} {int(row['plays']):,} " in page


def test_what_was_computed_again_is_read_again_and_nothing_else(
    counted: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, asked = date.fromisoformat(counted.yesterday), list[date]()
    read = held_totals.totals
    monkeypatch.setattr(held_totals, "totals", lambda *given: asked.append(given[1]) or read(*given))
    held, noted = held_totals.HeldTotals(), {day: {"events": 1}}
    first = held.of(counted.store, noted, day - timedelta(days=3), day)
    assert held.of(counted.store, noted, day, day) == first
    assert (len(first), asked) == (1, [day])
    assert held.of(counted.store, {day: {"events": 2}}, day, day) == first
    assert asked == [day, day]
    assert held.of(counted.store, {}, day, day) == []


def test_a_week_has_the_sum_of_its_days_and_the_average_of_their_rates() -> None:
    _, weeks = bins(DAY - timedelta(days=120), DAY + timedelta(days=4))
    found = totals(10, 20, 30)  # a Sunday, and two days of the week after
    assert [mark.label.split(": ")[1] for mark in chart(QUANTITIES[0], weeks, found).marks] == ["10", "50"]
    assert [mark.label.split(": ")[1] for mark in chart(QUANTITIES[1], weeks, found).marks] == ["50.0 %"] * 2


def test_a_gap_breaks_the_line_and_rates_count_by_plays() -> None:
    found = totals(10, 20, None, 0, 30)
    _, days = bins(DAY, DAY + timedelta(days=4))
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
