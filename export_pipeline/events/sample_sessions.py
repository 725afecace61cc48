"""What happens in the sample: sessions, the videos viewed in them, and an instant for every event.

Numbers only; the lines are made of them by ``sample_lines``. All instants are ms from the midnight
(UTC) of the day. A session lies within its day.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from export_pipeline.events import sample_people as people
from export_pipeline.events.sample_text import DAY_MS, Bools, Ints, hashed

CONTENTS = 20_000
NEVER = 99 * DAY_MS
"""A login instant later than everything."""

FREQUENT_LATECOMERS = 5
"""The first users are often late, so that erasing one of them leaves lines to suppress."""

_HOURS = (20, 12, 8, 6, 5, 6, 10, 18, 26, 28, 30, 34, 42, 40, 36, 36, 38, 44, 54, 66, 78, 80, 64, 38)
_VIEWS = (1, 1, 2, 2, 3, 3, 4, 5, 5, 6, 7, 8, 9, 10, 12, 18)
# By popularity in turn and not by the seed, so that every sample has the same share of playback.
_SECONDS = (5, 6, 8, 9, 11, 13, 15, 17, 20, 23, 26, 30, 35, 41, 52, 68)
_PERCENT_WATCHED = (4, 8, 12, 18, 25, 35, 50, 65, 80, 95, 100, 100, 100, 100, 100, 100, 100, 200)
_ROWS_A_SESSION = 140
_DURATION = 1

Key = tuple[str, str]
"""A data type's name and an event's."""


@dataclass(frozen=True)
class Slice:
    """The part ``index`` of ``count`` of a day: ``rows`` events by ``users`` users."""

    seed: int
    day_number: int
    index: int
    count: int
    rows: int
    users: int

    def generator(self) -> np.random.Generator:
        """The slice's own random numbers; nothing outside the slice changes them."""
        key = [self.seed, self.day_number, self.index, self.count, self.rows, self.users]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


@dataclass(frozen=True)
class Sessions:
    """One element a session. ``login``: from then on the user is identified. ``user`` is -1 for visitors."""

    user: Ints
    device: Ints
    home: Ints
    network: Ints
    start: Ints
    login: Ints
    videos: Ints
    ads: Ints
    exit: Ints


@dataclass(frozen=True)
class Views:
    """One element a video viewed, in the order of the sessions."""

    session: Ints
    position: Ints
    content: Ints
    duration: Ints
    watched: Ints
    startup: Ints
    rendition: Ints
    stall: Ints
    backwards: Bools
    ad_watched: Ints


@dataclass(frozen=True)
class Happenings:
    """Events of one kind: the view each belongs to, when, and the playback position in ms."""

    view: Ints
    at: Ints
    played: Ints


@dataclass(frozen=True)
class Timeline:
    """Everything that happens in a slice of a day."""

    sessions: Sessions
    views: Views
    happenings: Mapping[Key, Happenings]


@cache
def _popularity() -> np.typing.NDArray[np.float64]:
    """The cumulated Zipf weights; only division and addition, which are exact everywhere."""
    return np.cumsum(1.0 / np.arange(1, CONTENTS + 1))


def _popular(rng: np.random.Generator, size: int) -> Ints:
    weights = _popularity()
    ranks: Ints = np.searchsorted(weights[:-1], rng.random(size) * weights[-1], side="right")
    return ranks


def _starts(rng: np.random.Generator, part: Slice, size: int) -> Ints:
    """Instants that follow the day curve within the part's share of it."""
    weights = np.array(_HOURS, dtype=np.int64)
    cumulated = np.concatenate([[0], np.cumsum(weights)]) * 3_600_000
    low, high = (int(cumulated[-1]) * n // part.count for n in (part.index, part.index + 1))
    drawn = rng.integers(low, high, size)
    hour = np.searchsorted(cumulated, drawn, side="right") - 1
    instants: Ints = hour * 3_600_000 + (drawn - cumulated[hour]) // weights[hour]
    return instants


def _before_in_group(values: Ints, first: Ints, group: Ints) -> Ints:
    """The sum of the values before each one within its group, which begins at ``first[group]``."""
    total = np.cumsum(values) - values
    return total - total[first][group]


def timeline(part: Slice, rng: np.random.Generator) -> Timeline:
    """Sessions until ``part.rows`` events have happened, the last one cut short there."""
    size = part.rows * 5 // 4 // _ROWS_A_SESSION + 12
    while True:
        drawn = _draw(part, rng, size)
        if drawn is not None:
            return drawn
        size *= 2


def _draw(part: Slice, rng: np.random.Generator, size: int) -> Timeline | None:
    views_of = np.array(_VIEWS)[rng.integers(0, len(_VIEWS), size)]
    first = np.cumsum(views_of) - views_of
    session = np.repeat(np.arange(size), views_of)
    position = np.arange(len(session)) - first[session]
    last = position == views_of[session] - 1
    n = len(session)

    def chance(per_mille: int, among: Bools | None = None) -> Bools:
        hit = rng.integers(0, 1000, n) < per_mille
        return hit if among is None else hit & among

    content = _popular(rng, n)
    backwards = (position % 4 == 2) & ~last & chance(200)
    content[np.flatnonzero(backwards) + 1] = content[np.flatnonzero(backwards) - 1]
    drawn = hashed(part.seed, _DURATION, content)
    duration = (
        np.array(_SECONDS)[(content * 7 + 8) % 16] * 1000 + (drawn % np.uint64(100)).astype(np.int64) * 10
    )
    percent = np.array(_PERCENT_WATCHED)[rng.integers(0, len(_PERCENT_WATCHED), n)]
    watched = duration * percent // 1000 * 10
    offset = 10 * rng.integers(20, 100, n)
    ticks = np.where(watched >= offset, (watched - offset) // 1000 + 1, 0)
    network = rng.integers(0, len(people.NETWORKS), size)
    poor = network[session] == 3
    startup = rng.integers(80, 900, n) * np.where(poor, 4, 1)
    stalled = chance(120) | chance(300, poor)
    stall_at = watched * rng.integers(20, 980, n) // 10_000 * 10
    stall = np.where(stalled, rng.integers(150, 6000, n), 0)
    ad = (position % 3 == 2) & chance(900)
    ad_watched = np.where(ad, 10 * rng.integers(100, 1500, n), 0)
    flags: dict[Key, Bools] = {
        ("events", "impression"): np.ones(n, dtype=np.bool_),
        ("events", "playStart"): np.ones(n, dtype=np.bool_),
        ("events", "completion"): percent >= 100,
        ("events", "swipe"): ~last,
        ("events", "interaction"): chance(200),
        ("events", "like"): chance(90),
        ("events", "share"): chance(25),
        ("events", "save"): chance(30),
        ("quality", "rebuffer"): stalled,
        ("quality", "qualityChange"): chance(220) | chance(300, poor),
        ("quality", "error"): chance(50),
        ("ads", "impression"): ad,
        ("ads", "completion"): ad,
        ("ads", "click"): chance(40, ad),
    }

    rows_of_view = ticks + sum(flag.astype(np.int64) for flag in flags.values())
    rows_of = np.add.reduceat(rows_of_view, first) + 2
    reached = np.cumsum(rows_of)
    if reached[-1] < part.rows:
        return None
    kept = int(np.searchsorted(reached, part.rows)) + 1

    span = startup + watched + stall + rng.integers(300, 700, n) + ad_watched
    length = np.add.reduceat(span, first) + 1000
    start = _starts(rng, part, size)
    start = start * (DAY_MS - 2000 - length) // DAY_MS
    at = start[session] + 400 + _before_in_group(span, first, session)
    playing = at + startup
    ended = playing + watched + stall
    exit_at = start + length - 300

    shown = Views(
        session, position, content, duration, watched, startup, rng.integers(0, 15, n) // 3, stall, backwards,
        ad_watched,
    )  # fmt: skip
    moment = watched * rng.integers(0, 256, n) // 256
    ad_from = ended + 100
    when: dict[Key, Ints] = {
        ("events", "impression"): at,
        ("events", "playStart"): playing,
        ("events", "completion"): ended + 15,
        ("events", "swipe"): ended + 40,
        ("events", "interaction"): playing + moment,
        ("events", "like"): playing + moment * 3 // 4,
        ("events", "share"): playing + moment * 7 // 8,
        ("events", "save"): playing + moment // 2,
        ("quality", "rebuffer"): playing + stall_at + stall,
        ("quality", "qualityChange"): playing + moment // 4,
        ("quality", "error"): playing + moment // 8,
        ("ads", "impression"): ad_from,
        ("ads", "completion"): ad_from + ad_watched,
        ("ads", "click"): ad_from + ad_watched // 2,
    }
    within = np.flatnonzero(session < kept)
    limit = len(within)
    happenings: dict[Key, Happenings] = {}
    for key, flag in flags.items():
        view = np.flatnonzero(flag[:limit])
        played = stall_at if key == ("quality", "rebuffer") else (when[key] - playing).clip(0)
        happenings[key] = Happenings(view, when[key][view], np.minimum(played, watched)[view])
    view = np.repeat(np.arange(limit), ticks[:limit])
    tick = np.arange(len(view)) - (np.cumsum(ticks[:limit]) - ticks[:limit])[view]
    played = offset[view] + tick * 1000
    tick_at = playing[view] + played + np.where(played > stall_at[view], stall[view], 0)
    happenings["events", "watchProgress"] = Happenings(view, tick_at, played)
    zero = np.zeros(kept, dtype=np.int64)
    ends = first[:kept] + views_of[:kept] - 1
    happenings["events", "feedEntry"] = Happenings(first[:kept], start[:kept], zero)
    happenings["events", "feedExit"] = Happenings(ends, exit_at[:kept], zero)

    ads = np.add.reduceat(ad.astype(np.int64), first)
    login_at = at[first + views_of // 2]
    sessions = _sessions(part, rng, size, network, start, login_at, views_of, ads, exit_at)
    surplus = int(reached[kept - 1]) - part.rows
    return Timeline(sessions, shown, _cut(happenings, session, kept - 1, surplus))


def _cut(happenings: dict[Key, Happenings], session: Ints, last: int, surplus: int) -> dict[Key, Happenings]:
    """Take the latest ``surplus`` events from the session ``last``, as if the app had been killed."""
    ordered = dict(sorted(happenings.items()))
    if not surplus:
        return ordered
    mine = {key: np.flatnonzero(session[h.view] == last) for key, h in ordered.items()}
    instants = np.concatenate([ordered[key].at[rows] for key, rows in mine.items()])
    cut = np.argsort(instants, kind="stable")[len(instants) - surplus :]
    dropped = np.zeros(len(instants), dtype=np.bool_)
    dropped[cut] = True
    result: dict[Key, Happenings] = {}
    seen = 0
    for key, rows in mine.items():
        keep = np.ones(len(ordered[key].at), dtype=np.bool_)
        keep[rows[dropped[seen : seen + len(rows)]]] = False
        seen += len(rows)
        h = ordered[key]
        result[key] = Happenings(h.view[keep], h.at[keep], h.played[keep])
    return result


def _sessions(
    part: Slice,
    rng: np.random.Generator,
    size: int,
    network: Ints,
    start: Ints,
    login_at: Ints,
    videos: Ints,
    ads: Ints,
    exit_at: Ints,
) -> Sessions:
    """Who holds each session: most are identified, some log in on the way, some never do."""
    kind = rng.integers(0, 100, size)
    user = people.pick(rng, part.users, size)
    second = people.has_second_device(part.seed, user) * (rng.integers(0, 4, size) == 0)
    owned = people.device_keys(part.seed, user, second)
    visitor = kind >= 95
    device = np.where(visitor, people.visitor_keys(people.pick(rng, part.users * 2 + 10, size)), owned)
    login = np.select([kind < 84, kind < 91], [np.zeros(size, dtype=np.int64), login_at], NEVER)
    home = people.homes(part.seed, np.where(visitor, device, user))
    return Sessions(np.where(visitor, -1, user), device, home, network, start, login, videos, ads, exit_at)
