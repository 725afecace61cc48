"""Whether a day's volume is what the days before let expect (contract, section 3)."""

from datetime import date, timedelta
from statistics import median

from export_pipeline.ledger import Days

DAYS_BEFORE = 7
SMALLEST_SHARE = 10


def volume_warning(days: Days, day: date) -> str | None:
    """What is unusual about the rows of ``day``, in words, or None.

    Args:
        days: the states of ``day`` and of the ``DAYS_BEFORE`` days before it; a day nothing came for counts
            as one without rows.
    """
    rows = days[day].rows
    if rows == 0:
        return f"{day} has no rows"
    usual = median(days[day - timedelta(days=n)].rows for n in range(1, DAYS_BEFORE + 1))
    if rows * SMALLEST_SHARE < usual:
        return (
            f"{day} has {rows:,} rows, under a tenth of {usual:,.0f}, "
            f"the median of the {DAYS_BEFORE} days before"
        )
    return None
