"""Who is in the sample: users, their devices, and the lines of the three user tables.

What is true of a person is a hash of the seed and the person's number, so nothing is kept per user
and every part of the sample agrees on it.
"""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import numpy as np

from export_pipeline.events import sample_text as text
from export_pipeline.events.catalogue import DEVICE_TYPES, USER_TABLES
from export_pipeline.events.sample_text import DAY_MS, Ints, Text, Words, below, hashed

COUNTRIES = ("US", "DE", "BR", "IN", "JP", "FR", "MX", "GB", "ID", "TR", "NG", "ES", "KR", "PL", "VN", None)
NETWORKS = ("wifi", "4g", "5g", "3g", "ethernet")

_VISITORS = 1 << 40
_SHARED = 1 << 41
_UPDATE_DAYS = 20
_BLOCK = 100_000

_DEVICE, _DEVICE_KIND, _HOME, _PROFILE, _EXPERIMENT, _LINK, _SHARES, _SECOND = range(100, 108)

_EXPERIMENTS = ("feed_ranking_v7", "autoplay_delay", "ad_density")
_VARIANTS = ("control", "treatment", "treatment_b")


def device_keys(seed: int, users: Ints, second: Ints) -> Ints:
    """The device a user holds: the first or the ``second`` (0 or 1). A few are shared by two users."""
    pairs = users >> 1
    shared = (below(hashed(seed, _SHARES, pairs), 50) == 0) & (second == 0)
    keys: Ints = np.where(shared, pairs + _SHARED, users * 2 + second)
    return keys


def visitor_keys(numbers: Ints) -> Ints:
    """The devices of visitors who never log in."""
    return numbers + _VISITORS


def has_second_device(seed: int, users: Ints) -> Ints:
    """1 for the quarter of the users who own two devices, else 0."""
    owners: Ints = (below(hashed(seed, _SECOND, users), 4) == 0).astype(np.int64)
    return owners


def device_ids(seed: int, keys: Ints) -> Text:
    """The anonymous id of each device, a UUID."""
    return text.uuids(np.stack([hashed(seed, _DEVICE, keys), hashed(seed, _DEVICE + 1000, keys)], axis=1))


def device_types(seed: int, keys: Ints) -> Text:
    """The kind of each device."""
    return text.chosen(DEVICE_TYPES, (below(hashed(seed, _DEVICE_KIND, keys), 20) // 8).clip(0, 2))


def homes(seed: int, people: Ints) -> Ints:
    """The index into ``COUNTRIES`` of where each person (a device key or user) is."""
    drawn = hashed(seed, _HOME, people)
    index: Ints = np.minimum(below(drawn, len(COUNTRIES)), below(text.mix(drawn), len(COUNTRIES) + 4))
    return index


def user_ids(users: Ints) -> Text:
    """``"user_<8 digits>"``; the first user (number 0) is ``user_00000001``."""
    return text.numbered("user_", users + 1, 8)


def _user_blocks(users: int) -> Iterator[Ints]:
    for start in range(0, users, _BLOCK):
        yield np.arange(start, min(users, start + _BLOCK), dtype=np.int64)


def _lines(table: str, values: Sequence[Text]) -> Text:
    names = [field.name for field in USER_TABLES[table].fields]
    return text.joined([*text.json_object(dict(zip(names, values, strict=True))), "\n"])


def _profiles(seed: int, users: Ints, day: date, changed: Ints, revision: int) -> Text:
    drawn = [hashed(seed, _PROFILE + 10_000 * (revision + 1) + n, users) for n in range(5)]
    topics = ("music", "sport", "comedy", "科学", "cooking")
    affinities = {topic: text.hundredths(below(d, 101)) for topic, d in zip(topics, drawn, strict=True)}
    summary = {
        "sessions": text.integers(below(text.mix(drawn[0]), 400)),
        "watchSeconds": text.integers(below(text.mix(drawn[1]), 200_000)),
        "favouriteCreator": text.chosen(
            ["Zoë", 'Jürgen "Jay" Groß', "さくら", "o'neil", None, "=creator"], below(text.mix(drawn[2]), 6)
        ),
    }
    return _lines(
        "profiles",
        [
            user_ids(users),
            text.instants(day, changed),
            text.joined(text.json_object(affinities)),
            text.joined(text.json_object(summary)),
        ],
    )


def links(seed: int, users: Ints, keys: Ints, day: date, linked: Ints) -> Text:
    """Lines of device links: each user logged in on the device at the instant (ms from ``day``)."""
    return _lines("devices", [user_ids(users), device_ids(seed, keys), text.instants(day, linked)])


def _before(words: Words, days: int) -> Ints:
    """An instant in the ``days`` days before, as negative ms from midnight."""
    return -1 - below(words, days * DAY_MS // 16) * 16


def first_snapshot(seed: int, users: int, day: date) -> Iterator[tuple[str, Text]]:
    """What is known of every user when the sample begins, as (user table's landing folder, lines)."""
    for block in _user_blocks(users):
        made = _before(hashed(seed, _PROFILE, block), 400)
        yield "profiles", _profiles(seed, block, day, made, 0)
        second = has_second_device(seed, block)
        owners = np.concatenate([block, block[second == 1]])
        which = np.repeat(np.array([0, 1]), [len(block), int(second.sum())])
        when = _before(hashed(seed, _LINK, owners * 2 + which), 60)
        yield "devices", links(seed, owners, device_keys(seed, owners, which), day, when)
        drawn = hashed(seed, _EXPERIMENT, block)
        yield (
            "experiments",
            _lines(
                "experiments",
                [
                    user_ids(block),
                    text.chosen(_EXPERIMENTS, below(drawn, len(_EXPERIMENTS))),
                    text.chosen(_VARIANTS, below(text.mix(drawn), len(_VARIANTS))),
                    text.instants(day, _before(text.mix(drawn + np.uint64(1)), 30)),
                ],
            ),
        )


def profile_updates(seed: int, users: int, day: date) -> Iterator[tuple[str, Text]]:
    """The profiles that changed on ``day``: a twentieth of the users, each with a newer row."""
    number = (day - date.min) // timedelta(days=1)
    for block in _user_blocks(users):
        drawn = hashed(seed, _PROFILE + 5000, block)
        changed = block[below(drawn, _UPDATE_DAYS) == number % _UPDATE_DAYS]
        if len(changed):
            at = below(hashed(seed, _PROFILE + 6000 + number, changed), DAY_MS)
            yield "profiles", _profiles(seed, changed, day, at, number)


def countries(index: Ints) -> Text:
    """The country of each index, null for a few."""
    return text.chosen(COUNTRIES, index)


def pick(rng: np.random.Generator, users: int, size: int) -> Ints:
    """Users by activity: the lower the number, the more often."""
    drawn = rng.integers(0, 1 << 32, size=(2, size), dtype=np.uint64)
    return below(drawn[0] * drawn[1], users)
