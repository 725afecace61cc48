from datetime import date, timedelta

import pytest

from export_pipeline.exports.volume import volume_warning
from export_pipeline.ledger import Days, DayState

DAY = date(2026, 11, 20)


def days(rows: int, *before: int) -> Days:
    states = {DAY - timedelta(days=n): DayState(1, count) for n, count in enumerate(before, 1)}
    return Days(1, {**states, DAY: DayState(1, rows)})


@pytest.mark.parametrize("before", [(), (0,) * 7, (100,) * 7])
def test_a_day_without_rows_is_unusual_whatever_came_before(before: tuple[int, ...]) -> None:
    assert volume_warning(days(0, *before), DAY) == "2026-11-20 has no rows"


def test_a_day_under_a_tenth_of_the_median_of_the_week_before_is_unusual() -> None:
    warning = volume_warning(days(99, 1000, 1000, 1000, 1000, 5, 5, 9_000_000), DAY)
    assert warning == "2026-11-20 has 99 rows, under a tenth of 1,000, the median of the 7 days before"


def test_a_day_with_a_tenth_of_the_median_is_usual() -> None:
    assert volume_warning(days(100, *(1000,) * 7), DAY) is None


def test_the_first_days_of_a_deployment_are_usual() -> None:
    assert volume_warning(days(3, 1000, 1000, 1000), DAY) is None
