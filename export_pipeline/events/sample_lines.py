"""The landing lines of the sample's events: what happened, in JSON, in the catalogue's names.

A value is given for every field the catalogue lists, by name; which fields an event has, and their
order, is the catalogue's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa

from export_pipeline.events import sample_people as people
from export_pipeline.events import sample_text as text
from export_pipeline.events.catalogue import DataType, Event
from export_pipeline.events.sample_sessions import Happenings, Sessions, Timeline
from export_pipeline.events.sample_text import Ints, Text, Words

RENDITIONS = ("240p", "360p", "480p", "720p", "1080p")
_BITRATES = np.array([300, 700, 1200, 2500, 4800], dtype=np.int64)

ERROR_MESSAGES = (
    "Segment 17 timed out after 8000 ms",
    '=HYPERLINK("http://example.com","Retry")',
    "Zeitüberschreitung: Verbindung zu „edge-7“ verloren",
    "+1 retry failed",
    'decoder said "bad NAL"\nat frame 1024\n',
    "-2147467259 E_FAIL",
    "再生エラー：ネットワークに接続できません 😞",
    "@player: no renderer",
    "C:\\media\\cache\\seg.m4s, not found",
    '\ttab first, then a "quote"',
    "\r\nHTTP/1.1 503",
    "",
    "تعذر تشغيل الفيديو",
    "NaN",
    "null",
    "Not allowed: ' OR 1=1; --",
)

_DEVICES: tuple[dict[str, object], ...] = (
    {"model": "iPhone17,2", "os": "iOS 20.1", "memoryMb": 8192},
    {"model": "Pixel 11", "os": "Android 17", "memoryMb": 12288, "rooted": False},
    {"model": 'Redmi Note "Pro"', "os": "Android 15", "memoryMb": 6144},
    {
        "model": "Browser",
        "os": "Linux",
        "agent": "Mozilla/5.0 (X11; Linux x86_64; rv:150.0)",
        "tags": ["web", "új"],
    },
    {},
)

_INTERACTIONS = (
    ("volume", 0.4),
    ("comment", 'Sehr schön 😀, "wirklich"!'),
    ("mute", True),
    ("speed", 2),
    ("poll", {"question": "q_7", "answers": [1, 3]}),
    ("caption", None),
    ("comment", "=SUM(A1:A9)"),
    ("reactions", ["👍", "🔥"]),
    ("comment", "línea uno\nlínea dos"),
    ("seek", -5),
)


@dataclass(frozen=True)
class Rows:
    """Rows of one data type, kinds one after the other; ``at`` is what their ``timestamp`` says.

    ``kind`` is the index into ``kinds``; ``received`` is when the platform got them (ms from midnight).
    """

    data_type: DataType
    kinds: tuple[Event, ...]
    kind: Ints
    session: Ints
    at: Ints
    happened: Ints
    received: Ints


def data_values(
    event: Event, data_type: str, t: Timeline, h: Happenings, rng: np.random.Generator
) -> dict[str, Text]:
    """The JSON text of every field of the event's ``data``, a value a row."""
    v, view = t.views, h.view
    n = len(view)

    def numbers(limit: int) -> Ints:
        return rng.integers(0, limit, n)

    def listed(name: str, index: Ints) -> Text:
        values = next(f.values for f in event.fields if f.name == name)
        return text.chosen(values, index % len(values))

    def seconds(millis: Ints) -> Text:
        return text.hundredths(millis // 10)

    def video(views: Ints) -> Text:
        return text.numbered("vid_", v.content[views], 8)

    session = v.session[view]
    watched = v.watched[view]
    match (data_type, event.name):
        case ("events", "impression"):
            return {
                "position": text.integers(v.position[view]),
                "entryPoint": listed("entryPoint", session // 3),
                "feedId": text.chosen(["for_you", "following", "trending", None], session % 4),
            }
        case ("events", "playStart"):
            return {
                "startupTime": text.integers(v.startup[view]),
                "rendition": text.chosen(RENDITIONS, v.rendition[view]),
                "codec": listed("codec", session // 2),
                "autoplay": text.flags(v.position[view] > 0),
            }
        case ("events", "watchProgress"):
            duration = v.duration[view]
            played = (h.played - 1) % duration + 1
            return {
                "currentTime": seconds(played),
                "duration": seconds(duration),
                "percentComplete": text.hundredths((played * 1000 + duration // 2) // duration * 10),
                "rendition": text.chosen(RENDITIONS, v.rendition[view]),
                "bitrate": text.integers(_BITRATES[v.rendition[view]] * (90 + numbers(21)) // 100),
            }
        case ("events", "completion"):
            loops = np.maximum(watched // v.duration[view] - 1, 0)
            return {
                "watchTime": seconds(watched),
                "looped": text.flags(loops > 0),
                "loopCount": text.integers(loops),
            }
        case ("events", "swipe"):
            return {
                "fromContentId": video(view),
                "toContentId": video(view + 1),
                "watchTimeOnFrom": seconds(watched),
                "direction": listed("direction", v.backwards[view].astype(np.int64)),
            }
        case ("events", "interaction"):
            which = numbers(len(_INTERACTIONS))
            return {
                "interactionType": text.chosen([name for name, _ in _INTERACTIONS], which),
                "value": text.chosen([value for _, value in _INTERACTIONS], which),
            }
        case ("events", "share"):
            return {
                "platform": text.chosen(["whatsapp", "copyLink", "instagram", "LINE", "メール"], numbers(5))
            }
        case ("events", "feedEntry"):
            return {"entryPoint": listed("entryPoint", session // 5)}
        case ("events", "feedExit"):
            s = t.sessions
            return {
                "totalSessionTime": seconds(s.exit[session] - s.start[session]),
                "videosWatched": text.integers(s.videos[session]),
                "adsWatched": text.integers(s.ads[session]),
                "exitMethod": text.chosen(["background", "close", "tabSwitch", None], numbers(4)),
            }
        case ("quality", "rebuffer"):
            return {
                "duration": text.integers(v.stall[view]),
                "rendition": text.chosen(RENDITIONS, v.rendition[view]),
                "networkType": text.chosen(people.NETWORKS, t.sessions.network[session]),
            }
        case ("quality", "qualityChange"):
            now = v.rendition[view]
            return {
                "fromQuality": text.chosen(RENDITIONS, np.where(now > 0, now - 1, 1)),
                "toQuality": text.chosen(RENDITIONS, now),
                "reason": listed("reason", numbers(2)),
            }
        case ("quality", "error"):
            which = numbers(len(ERROR_MESSAGES))
            return {
                "errorCode": text.numbered("E", 1000 + which * 7, 4),
                "errorMessage": text.chosen(ERROR_MESSAGES, which),
                "errorType": listed("errorType", which),
                "networkType": text.chosen(people.NETWORKS, t.sessions.network[session]),
                "deviceInfo": text.chosen(_DEVICES, numbers(len(_DEVICES))),
            }
        case ("ads", _):
            ad, network = v.content[view] % 97, v.content[view] % 5
            skipped = (v.content[view] + session) % 3 == 0
            return {
                "adId": text.numbered("ad_", ad, 5),
                "adNetworkId": text.numbered("adnet_", network, 2),
                "contentIdBefore": video(view),
                "position": text.integers(v.position[view] + 1),
                "watchTime": seconds(v.ad_watched[view]),
                "didComplete": text.flags(~skipped),
                "didSkip": text.flags(skipped),
                "destination": text.chosen(
                    ["https://shop.example/sale?id=7&x=ä", "app://store/42", "https://例え.jp/"], ad % 3
                ),
            }
        case _:
            return {}


def lines(rows: Rows, t: Timeline, day: date, texts: Mapping[str, Text], rng: np.random.Generator) -> Text:
    """One landing line a row, newline included, in the order of ``rows``."""
    n = len(rows.at)
    s: Sessions = t.sessions
    event_words: Words = rng.integers(0, 1 << 64, size=(n, 2), dtype=np.uint64)
    anonymous = rows.happened < s.login[rows.session]
    columns: dict[str, Text] = {
        "userId": texts["userId"].take(pa.array(rows.session + len(s.user) * anonymous)),
        "timestamp": text.instants(day, rows.at),
        "eventId": text.hex_ids("evt_", event_words, 24),
        "receivedAt": text.instants(day, rows.received),
    }
    for name in ("sessionId", "deviceType", "deviceId", "country"):
        columns[name] = texts[name].take(pa.array(rows.session))
    bounds = np.searchsorted(rows.kind, np.arange(len(rows.kinds) + 1))
    made = []
    for index, event in enumerate(rows.kinds):
        start, length = int(bounds[index]), int(bounds[index + 1] - bounds[index])
        if not length:
            continue
        h = t.happenings[rows.data_type.name, event.name]
        values = data_values(event, rows.data_type.name, t, h, rng)
        data = text.json_object({f.name: values[f.name] for f in event.fields})
        members: dict[str, Text] = {}
        for field in rows.data_type.incoming_fields:
            if field.name in columns:
                members[field.name] = columns[field.name].slice(start, length)
            elif field.name == "event":
                members[field.name] = f'"{event.name}"'
            elif field.name == "contentId":
                members[field.name] = _content_id(event, t, h)
            elif field.name == "currentTime":
                position = text.hundredths(h.played // 10)
                members[field.name] = text.where(h.view % 10 < 7, position, "null")
                lifted = text.joined(['"currentTime":', position, "," if event.fields else ""])
                data = ["{", text.where(h.view % 10 >= 8, lifted, ""), *_without_brace(data)]
            elif field.name == "data":
                members[field.name] = text.joined(data) if len(data) > 1 else data[0]
        made.append(text.joined([*text.json_object(members), "\n"]))
    return pa.concat_arrays(made) if made else pa.array([], pa.string())


def _without_brace(pieces: list[Text]) -> list[Text]:
    """The pieces of an object without the opening brace."""
    return [str(pieces[0])[1:], *pieces[1:]]


def _content_id(event: Event, t: Timeline, h: Happenings) -> Text:
    """The video where the event needs one, and of three swipes in four."""
    video = text.numbered("vid_", t.views.content[h.view], 8)
    if event.needs_content:
        return video
    return text.where(h.view % 4 > 0, video, "null") if event.name == "swipe" else "null"


def session_texts(seed: int, t: Timeline, rng: np.random.Generator) -> dict[str, Text]:
    """The texts that are the same in all rows of a session; ``userId`` twice, identified and anonymous."""
    s = t.sessions
    drawn: Words = rng.integers(0, 1 << 64, size=(len(s.start), 2), dtype=np.uint64)
    device = people.device_ids(seed, s.device)
    identified = text.where(s.user >= 0, people.user_ids(s.user.clip(0)), device)
    return {
        "userId": pa.concat_arrays([identified, device]),
        "sessionId": text.where(drawn[:, 1] % np.uint64(64) != 0, text.hex_ids("ses_", drawn, 16), "null"),
        "deviceType": people.device_types(seed, s.device),
        "deviceId": device,
        "country": people.countries(s.home),
    }
