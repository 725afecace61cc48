"""How many requests a key may make: so many in each minute of the clock, counted in this process."""

import time
from dataclasses import dataclass
from threading import Lock

from export_pipeline.errors import RateLimited

WINDOW_SECONDS = 60


@dataclass(frozen=True)
class Rate:
    """What is left to a key until ``reset``, in seconds since 1970."""

    limit: int
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """The headers that say so."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset),
        }


class RateLimiter:
    """Counts requests by key; safe to share between threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = Lock()
        self._window = 0
        self._counts: dict[str, int] = {}

    def count(self, key_id: str, now: float | None = None) -> Rate:
        """Count a request; what is left after it, below zero if it is one too many.

        Args:
            now: seconds since 1970; default: the clock's.
        """
        window = int(time.time() if now is None else now) // WINDOW_SECONDS
        with self._lock:
            if window > self._window:
                self._window, self._counts = window, {}
            made = self._counts[key_id] = self._counts.get(key_id, 0) + 1
            return Rate(self._limit, self._limit - made, (self._window + 1) * WINDOW_SECONDS)


def too_many(rate: Rate, now: float | None = None) -> RateLimited:
    """The refusal of a request that was one too many."""
    wait = max(1, rate.reset - int(time.time() if now is None else now))
    return RateLimited(
        f"more than {rate.limit} requests in a minute with this key; ask again in {wait} s", retry_after=wait
    )
