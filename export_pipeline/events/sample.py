"""A realistic sample of landing batches (contract, section 9, ``sample``).

What happens on a day depends on the seed, the day, the rows a day and the number of users. The first
day decides only when the user tables begin, the last one only when late lines arrive. The bytes are the
same on every machine and for any number of processors.

A day is made in slices of the day curve, a file a data type each; what is late or is sent again waits in
memory for the day it lands. So memory follows the slice, and the small share of late lines.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from itertools import chain
from pathlib import Path

from export_pipeline.errors import InvalidRequest
from export_pipeline.events import sample_landing as landing
from export_pipeline.events import sample_people as people
from export_pipeline.events import sample_text as text
from export_pipeline.events.sample_arrival import Landed, land
from export_pipeline.events.sample_sessions import Slice

SLICE_ROWS = 50_000
"""Events in a slice. It is part of the bytes: another number gives another sample."""

MAX_DAYS = 366
MAX_USERS = 99_999_999
_MAX_WORKERS = 4


def write_sample(
    to: Path,
    days: int,
    end: date,
    rows_per_day: int,
    users: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, dict[str, int]]:
    """Write landing batches for the ``days`` days up to ``end`` (UTC, included) into folders under ``to``.

    ``rows_per_day`` is the number of events of all types that happen on a day; lines sent twice come on
    top. Late lines arrive at most 3 days after their timestamp and before the end of the day after
    ``end``. ``progress`` is called with the number of lines of each file written. After being killed, the
    same call puts everything right.

    Returns:
        For each target (``events``, …, ``users/profiles``, …) the ``files`` and ``lines`` written.

    Raises:
        InvalidRequest: naming the argument that cannot be used.
        StorageFull: if no room is left.
    """
    _check(days, end, rows_per_day, users, seed)
    first = end - timedelta(days=days - 1)
    directory = landing.Landing(to, progress)
    workers = min(_MAX_WORKERS, os.cpu_count() or 1)
    running: deque[tuple[date, Future[Landed]]] = deque()
    open_day = first

    def collect() -> None:
        nonlocal open_day
        day, future = running.popleft()
        directory.end(open_day, day - timedelta(days=1))
        open_day = day
        landed = future.result()
        for target, count in landed.written.items():
            directory.note(target, count)
        for days_later, target, content, count in landed.waiting:
            directory.wait(day + timedelta(days=days_later), target, content, count)

    with ThreadPoolExecutor(workers) as executor:
        for day in (first + timedelta(days=offset) for offset in range(days)):
            for part in _slices(day, rows_per_day, users, seed):
                if len(running) > workers:
                    collect()
                running.append((day, executor.submit(land, to, part, day, end)))
            known = people.first_snapshot(seed, users, first) if day == first else iter(())
            for number, (table, lines) in enumerate(chain(known, people.profile_updates(seed, users, day))):
                landing.write(
                    to / "users" / table, landing.name(day, number), text.content(lines), number % 2 == 1
                )
                directory.note(f"users/{table}", len(lines))
        while running:
            collect()
    directory.end(open_day, end + timedelta(days=1))
    return directory.written


def _check(days: int, end: date, rows_per_day: int, users: int, seed: int) -> None:
    limits = {
        "days": (days, 1, MAX_DAYS),
        "rows-per-day": (rows_per_day, 1, 10**10),
        "users": (users, 1, MAX_USERS),
        "seed": (seed, 0, (1 << 63) - 1),
    }
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise InvalidRequest(f"{name} is {value}; it must be from {low} to {high}", field=name)
    if not 1972 <= end.year <= 9000:
        raise InvalidRequest(f"end is {end}; it must be a day of the years 1972 to 9000", field="end")


def _slices(day: date, rows: int, users: int, seed: int) -> Iterator[Slice]:
    count = -(-rows // SLICE_ROWS)
    for index in range(count):
        share = rows * (index + 1) // count - rows * index // count
        yield Slice(seed, (day - date.min).days, index, count, share, users)
