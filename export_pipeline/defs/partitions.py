"""The daily partitions that events and exports share: UTC, from the first day to today."""

from datetime import date

import dagster as dg

from export_pipeline.days import days_between
from export_pipeline.settings import Settings

DAY_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"


def daily(settings: Settings) -> dg.DailyPartitionsDefinition:
    """A partition a day, named ``YYYY-MM-DD``; today has one too, as events of today land today."""
    return dg.DailyPartitionsDefinition(
        start_date=settings.first_day.isoformat(), timezone="UTC", end_offset=1
    )


def has_partition(settings: Settings, day: date, today: date) -> bool:
    """Whether ``daily`` has a partition for ``day``."""
    return settings.first_day <= day <= today


def days_of(run: dg.DagsterRun) -> list[date]:
    """The days a run is about, oldest first; none if it is not about days."""
    first = run.tags.get(DAY_TAG) or run.tags.get(RANGE_START_TAG)
    last = run.tags.get(DAY_TAG) or run.tags.get(RANGE_END_TAG)
    return list(days_between(date.fromisoformat(first), date.fromisoformat(last))) if first and last else []
