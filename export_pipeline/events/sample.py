"""A realistic sample of landing batches (contract, section 9, ``sample``).

What happens on a day depends on the seed, the day, the rows a day and the number of users; the first
and the last day decide only when late lines arrive and when the user tables begin. The bytes are the
same on every machine and for any number of processors.

A line lands in a file of the day of its ``receivedAt``. A day is made in slices of the day curve, each
of which becomes a file a data type; what is late or is sent again waits in memory for the day it lands.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from isal import isal_zlib

from export_pipeline.errors import InvalidRequest
from export_pipeline.events import sample_people as people
from export_pipeline.events import sample_text as text
from export_pipeline.events.catalogue import DATA_TYPES, USER_TABLES, DataType
from export_pipeline.events.sample_lines import Rows, lines, people_texts
from export_pipeline.events.sample_sessions import FREQUENT_LATECOMERS, Slice, Timeline, timeline
from export_pipeline.events.sample_text import DAY_MS, Ints, Text
from export_pipeline.events.sample_trouble import disturb
from export_pipeline.files import write_atomically

SLICE_ROWS = 100_000
FILE_LINES = 200_000
MAX_DAYS = 366
MAX_USERS = 99_999_999
_MAX_LATE_MS = 70 * 3_600_000
_UPLOAD_MS = 5000
_WORKERS = 4


@dataclass
class _Waiting:
    """Lines that land in a file of their own: chunks of text and the number of lines in them."""

    chunks: list[bytes] = field(default_factory=list)
    count: int = 0


@dataclass
class _Landed:
    """What a slice of a day brings: lines written to files, and lines for other files (day, target)."""

    written: dict[str, int] = field(default_factory=dict)
    waiting: list[tuple[int, str, bytes, int]] = field(default_factory=list)

    def keep(self, day: int, target: str, made: Text) -> None:
        """Hold the lines back for a file of the target that lands ``day`` days later."""
        if len(made):
            self.waiting.append((day, target, bytes(text.content(made)), len(made)))


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
    if not date(1971, 1, 1) <= end - timedelta(days=days) or end.year > 9000:
        raise InvalidRequest(f"end is {end}; it must be a day of the years 1972 to 9000", field="end")


def _write(folder: Path, name: str, content: Any, compressed: bool) -> None:
    """Write one landing file, gzip with no time in its header if ``compressed``."""
    if compressed:
        content, name = isal_zlib.compress(content, 1, 31), name + ".gz"
    write_atomically(folder / name, content)


def _receive(
    t: Timeline, part: Slice, horizon: int, rng: np.random.Generator
) -> dict[str, tuple[Rows, Ints]]:
    """When every event is received, and what its timestamp claims; with a mark for those that are late."""
    latency = rng.integers(150, 2500, len(t.sessions.start))
    frequent = (t.sessions.user >= 0) & (t.sessions.user < FREQUENT_LATECOMERS)
    offline = rng.integers(0, 10_000, len(latency)) < np.where(frequent, 60, 15)
    room = np.minimum(horizon - t.sessions.exit, _MAX_LATE_MS)
    uploaded = t.sessions.exit + room * rng.integers(1, 1000, len(latency)) // 1000
    received: dict[str, tuple[Rows, Ints]] = {}
    for data_type in DATA_TYPES.values():
        kinds = tuple(data_type.events)
        parts = [t.happenings[data_type.name, kind.name] for kind in kinds]
        session = t.views.session[np.concatenate([h.view for h in parts])]
        at = np.concatenate([h.at for h in parts])
        kind = np.repeat(np.arange(len(kinds)), [len(h.at) for h in parts])
        arrived = (at // _UPLOAD_MS + 1) * _UPLOAD_MS + latency[session]
        fate = rng.integers(0, 100_000, len(at))
        alone = fate < np.where(frequent[session], 600, 80)
        delayed = at + np.minimum(_MAX_LATE_MS, horizon - at) * rng.integers(10, 1000, len(at)) // 1000
        late = alone | offline[session]
        arrived = np.where(alone, delayed, np.where(offline[session], uploaded[session], arrived))
        ahead = ~late & (fate >= 99_920)
        claimed = np.where(ahead, arrived + rng.integers(360_000, 5 * DAY_MS, len(at)), at)
        received[data_type.name] = (Rows(data_type, kinds, kind, session, claimed, at, arrived), late)
    return received


def _again(rng: np.random.Generator, count: int) -> tuple[Ints, Ints]:
    """Which lines are sent twice: soon, into the same file, and much later, into another."""
    fate = rng.integers(0, 100_000, count)
    return np.flatnonzero(fate < 120), np.flatnonzero(fate >= 99_930)


def _slice(to: Path, part: Slice, day: date, last: date) -> _Landed:
    """Make one slice of a day: write its files, hold back what lands elsewhere."""
    rng = part.generator()
    t = timeline(part, rng)
    words = rng.integers(0, 1 << 64, size=(len(t.sessions.start), 2), dtype=np.uint64)
    texts = people_texts(part.seed, t, words)
    latest_day = (last - day).days + 1
    horizon = (latest_day + 1) * DAY_MS - 60_000
    landed = _Landed()
    for target, (rows, late) in _receive(t, part, horizon, rng).items():
        made = lines(rows, t, day, texts, rng)
        kinds = rows.kinds
        made = disturb(
            made,
            np.array([kind.needs_content for kind in kinds])[rows.kind],
            np.array([bool(kind.fields) for kind in kinds])[rows.kind],
            rng,
        )
        soon, later = _again(rng, len(made))
        delivered = rows.received // DAY_MS
        elsewhere = late | (delivered > 0)
        _land(to, part, day, rows.data_type, made, rows.received, elsewhere, soon, landed)
        for offset in np.unique(delivered[elsewhere]):
            chosen = np.flatnonzero(elsewhere & (delivered == offset))
            landed.keep(int(offset), target, made.take(pa.array(chosen)))
        if len(later):
            landed.keep(min(1 + part.index % 2, latest_day), target, made.take(pa.array(later)))
    _link(t, part, day, landed)
    return landed


def _land(
    to: Path,
    part: Slice,
    day: date,
    data_type: DataType,
    made: Text,
    received: Ints,
    elsewhere: Any,
    soon: Ints,
    landed: _Landed,
) -> None:
    """Write the lines that land now, in the order of arrival."""
    here = np.flatnonzero(~elsewhere)
    soon = soon[~elsewhere[soon]]
    source = np.concatenate([here, soon])
    if not len(source):
        return
    arrival = np.concatenate([received[here], received[soon] + 20_000])
    bits = max(1, len(source).bit_length())
    order = np.sort((arrival << bits) | np.arange(len(source))) & ((1 << bits) - 1)
    ordered = made.take(pa.array(source[order]))
    compressed = (part.day_number + part.index) % 2 == 0
    _write(to / data_type.name, _name(day, part.index), text.content(ordered), compressed)
    landed.written[data_type.name] = len(ordered)


def _link(t: Timeline, part: Slice, day: date, landed: _Landed) -> None:
    """A device link for every session in which a user logged in."""
    s = t.sessions
    kept = int(t.views.session[t.happenings["events", "feedEntry"].view].max(initial=-1)) + 1
    logins = np.flatnonzero((s.login[:kept] > 0) & (s.login[:kept] < DAY_MS))
    if len(logins):
        made = people.links(part.seed, s.user[logins], s.device[logins], day, s.login[logins])
        landed.keep(0, "users/devices", made)


def _name(day: date, number: int | str) -> str:
    label = f"{number:05d}" if isinstance(number, int) else number
    return f"sample-{day.isoformat()}-{label}.jsonl"


class _Landing:
    """The landing directory being filled, and the lines that still wait for their day."""

    def __init__(self, to: Path, progress: Callable[[int], None] | None) -> None:
        self._to = to
        self._progress = progress
        self._waiting: dict[tuple[date, str], list[_Waiting]] = {}
        targets = [*DATA_TYPES, *(f"users/{landing}" for landing in USER_TABLES)]
        self.written = {target: {"files": 0, "lines": 0} for target in targets}
        for target in targets:
            (to / target).mkdir(parents=True, exist_ok=True)
            for remains in (to / target).glob(".sample-*.tmp"):
                remains.unlink()

    def note(self, target: str, lines: int) -> None:
        """Count a file that was written."""
        self.written[target]["files"] += 1
        self.written[target]["lines"] += lines
        if self._progress:
            self._progress(lines)

    def add(self, day: date, landed: _Landed) -> None:
        """Take over what a slice of ``day`` brought."""
        for target, count in landed.written.items():
            self.note(target, count)
        for offset, target, content, count in landed.waiting:
            self.wait(day + timedelta(days=offset), target, content, count)

    def wait(self, day: date, target: str, content: bytes, count: int) -> None:
        """Hold lines back for the files that end ``day``."""
        files = self._waiting.setdefault((day, target), [])
        if not files or files[-1].count + count > FILE_LINES:
            files.append(_Waiting())
        files[-1].chunks.append(content)
        files[-1].count += count

    def end(self, day: date) -> None:
        """Write what waited for ``day``."""
        for target in self.written:
            for number, file in enumerate(self._waiting.pop((day, target), [])):
                _write(
                    self._to / target,
                    _name(day, f"late-{number:02d}"),
                    b"".join(file.chunks),
                    number % 2 == 1,
                )
                self.note(target, file.count)


def _parts(day: date, rows: int, users: int, seed: int) -> Iterator[Slice]:
    count = -(-rows // SLICE_ROWS)
    number = (day - date.min).days
    for index in range(count):
        share = rows * (index + 1) // count - rows * index // count
        yield Slice(seed, number, index, count, share, users)


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
    ``end``. ``progress`` is called with the number of lines of each file written.

    Returns:
        For each target (``events``, …, ``users/profiles``, …) the ``files`` and ``lines`` written.

    Raises:
        InvalidRequest: naming the argument that cannot be used.
    """
    _check(days, end, rows_per_day, users, seed)
    first = end - timedelta(days=days - 1)
    landing = _Landing(to, progress)
    for number, (table, made) in enumerate(people.first_snapshot(seed, users, first)):
        _write(to / "users" / table, _name(first, number), text.content(made), number % 2 == 1)
        landing.note(f"users/{table}", len(made))
    workers = min(_WORKERS, os.cpu_count() or 1)
    running: deque[tuple[date, Future[_Landed]]] = deque()
    finished = first

    def collect() -> None:
        nonlocal finished
        day, future = running.popleft()
        while finished < day:
            landing.end(finished)
            finished += timedelta(days=1)
        landing.add(day, future.result())

    with ThreadPoolExecutor(workers) as executor:
        for offset in range(days):
            day = first + timedelta(days=offset)
            for part in _parts(day, rows_per_day, users, seed):
                if len(running) > workers:
                    collect()
                running.append((day, executor.submit(_slice, to, part, day, end)))
            for table, made in people.profile_updates(seed, users, day):
                landing.wait(day, f"users/{table}", bytes(text.content(made)), len(made))
        while running:
            collect()
    while finished <= end + timedelta(days=1):
        landing.end(finished)
        finished += timedelta(days=1)
    return landing.written
