"""How the sample's events reach the platform: most at once, some late, some twice, some broken.

Makes one slice of a day from end to end: what happens, when each event is received, the lines, and
the files they land in. A line lands in a file of the day of its ``receivedAt``.
"""

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa

from export_pipeline.events import sample_landing as landing
from export_pipeline.events import sample_people as people
from export_pipeline.events import sample_text as text
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.events.sample_lines import Rows, lines, session_texts
from export_pipeline.events.sample_sessions import FREQUENT_LATECOMERS, Slice, Timeline, timeline
from export_pipeline.events.sample_text import DAY_MS, Bools, Ints, Text
from export_pipeline.events.sample_trouble import disturb

_LATEST_MS = 70 * 3_600_000
_UPLOAD_MS = 5000
_FUTURE_MS = (360_000, 5 * DAY_MS)


@dataclass
class Landed:
    """What a slice brings: lines written by target; lines held back (days later, target, text, count)."""

    written: dict[str, int] = field(default_factory=dict)
    waiting: list[tuple[int, str, bytes, int]] = field(default_factory=list)

    def keep(self, days_later: int, target: str, made: Text) -> None:
        """Hold lines back for a file of the target."""
        if len(made):
            self.waiting.append((days_later, target, bytes(text.content(made)), len(made)))


def land(to: Path, part: Slice, day: date, end: date) -> Landed:
    """Make a slice of ``day``: write its files under ``to``, hold back what lands in others.

    Nothing is received after the day that follows ``end``.
    """
    rng = part.generator()
    t = timeline(part, rng)
    texts = session_texts(part.seed, t, rng)
    latest_day = (end - day).days + 1
    landed = Landed()
    for target, (rows, late) in _received(t, (latest_day + 1) * DAY_MS - 60_000, rng).items():
        made = lines(rows, t, day, texts, rng)
        needs_content = np.array([kind.needs_content for kind in rows.kinds])[rows.kind]
        has_data = np.array([bool(kind.fields) for kind in rows.kinds])[rows.kind]
        made = disturb(made, day, needs_content, has_data, rng)
        days_later = rows.received // DAY_MS
        elsewhere = late | (days_later > 0)
        here = np.flatnonzero(~elsewhere)
        fate = rng.integers(0, 100_000, len(made))
        soon, later = here[fate[here] < 120], here[fate[here] >= 99_930]
        arriving = np.concatenate([here, soon])
        if len(arriving):
            arrival = np.concatenate([rows.received[here], rows.received[soon] + 20_000])
            ordered = made.take(pa.array(arriving[_order(arrival)]))
            compressed = (part.day_number + part.index) % 2 == 0
            landing.write(to / target, landing.name(day, part.index), text.content(ordered), compressed)
            landed.written[target] = len(ordered)
        for offset in np.unique(days_later[elsewhere]):
            chosen = np.flatnonzero(elsewhere & (days_later == offset))
            landed.keep(int(offset), target, made.take(pa.array(chosen)))
        landed.keep(min(1 + part.index % 2, latest_day), target, made.take(pa.array(later)))
    landed.keep(0, "users/devices", _links(t, part, day))
    return landed


def _received(t: Timeline, horizon: int, rng: np.random.Generator) -> dict[str, tuple[Rows, Bools]]:
    """The rows of each data type, with the instants of their receipt, and which of them are late.

    Phones upload every few seconds. Some sessions are offline and uploaded as a whole later, some
    events are late on their own, some claim to have happened in the future.
    """
    size = len(t.sessions.start)
    latency = rng.integers(150, 2500, size)
    frequent = (t.sessions.user >= 0) & (t.sessions.user < FREQUENT_LATECOMERS)
    offline = rng.integers(0, 10_000, size) < np.where(frequent, 60, 15)
    room = np.minimum(horizon - t.sessions.exit, _LATEST_MS)
    uploaded = t.sessions.exit + room * rng.integers(1, 1000, size) // 1000
    received: dict[str, tuple[Rows, Bools]] = {}
    for data_type in DATA_TYPES.values():
        parts = [t.happenings[data_type.name, kind.name] for kind in data_type.events]
        session = t.views.session[np.concatenate([h.view for h in parts])]
        at = np.concatenate([h.at for h in parts])
        kind = np.repeat(np.arange(len(parts)), [len(h.at) for h in parts])
        fate = rng.integers(0, 100_000, len(at))
        alone = fate < np.where(frequent[session], 600, 80)
        late = alone | offline[session]
        delay = np.minimum(_LATEST_MS, horizon - at) * rng.integers(10, 1000, len(at)) // 1000
        punctual = (at // _UPLOAD_MS + 1) * _UPLOAD_MS + latency[session]
        arrived = np.where(offline[session], uploaded[session], np.where(alone, at + delay, punctual))
        future = ~late & (fate >= 99_920)
        claimed = np.where(future, arrived + rng.integers(*_FUTURE_MS, len(at)), at)
        rows = Rows(data_type, data_type.events, kind, session, claimed, at, arrived)
        received[data_type.name] = (rows, late)
    return received


def _order(arrival: Ints) -> Ints:
    """The order of arrival; equal instants keep their order."""
    bits = len(arrival).bit_length()
    order: Ints = np.sort((arrival << bits) | np.arange(len(arrival))) & ((1 << bits) - 1)
    return order


def _links(t: Timeline, part: Slice, day: date) -> Text:
    """A device link for every session in which a user logged in."""
    s = t.sessions
    happened = t.views.session[t.happenings["events", "feedEntry"].view]
    logins = happened[(s.login[happened] > 0) & (s.login[happened] < DAY_MS)]
    return people.links(part.seed, s.user[logins], s.device[logins], day, s.login[logins])
