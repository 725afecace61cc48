"""Waiting for what has to come, however long it takes here."""

import time
from collections.abc import Callable

PATIENCE = 30.0
_PAUSE_SECONDS = 0.02


def until(is_so: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Return once ``is_so``, and fail if it never is."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(_PAUSE_SECONDS)
