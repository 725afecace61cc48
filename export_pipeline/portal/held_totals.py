"""Totals of days, read from the store once for each version of their metrics."""

from collections.abc import Mapping
from datetime import date
from threading import Lock
from typing import Any

from export_pipeline.days import days_between
from export_pipeline.retention.metrics import DayTotals, totals
from export_pipeline.store import Store


class HeldTotals:
    """Totals by day as far as they were asked for; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: dict[date, tuple[Mapping[str, Any], DayTotals | None]] = {}

    def of(
        self, store: Store, noted: Mapping[date, Mapping[str, Any]], first: date, last: date
    ) -> list[DayTotals]:
        """The totals of the days from ``first`` to ``last`` that have metrics, oldest first.

        Args:
            noted: what the metrics of each day that has some were computed from, read before.
        """
        days = [day for day in days_between(first, last) if day in noted]
        with self._lock:
            new = [day for day in days if day not in self._held or self._held[day][0] != noted[day]]
            if new:
                found = {each.day: each for each in totals(store, new[-1], (new[-1] - new[0]).days + 1)}
                self._held |= {day: (noted[day], found.get(day)) for day in new}
            self._held = {day: held for day, held in self._held.items() if day in noted}
            return [each for day in days if (each := self._held[day][1]) is not None]
