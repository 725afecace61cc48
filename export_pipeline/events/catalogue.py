"""The event catalogue, as data: data types, their events, and every field (contract, section 2).

CSV columns, JSON Schema, validation, the data dictionary and the sample are derived from what
stands here; nothing else lists an event or a field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

JsonType = Literal["string", "integer", "number", "boolean", "object", "any"]


@dataclass(frozen=True)
class Field:
    """One field of a row or of an event's ``data``.

    ``values`` lists the values a string can take, where the catalogue fixes them; ``unit`` is ``ms``,
    ``s``, ``kbps`` or ``percent``. A field that is not ``nullable`` is required of every event.
    """

    name: str
    type: JsonType
    description: str
    unit: str | None = None
    values: tuple[str, ...] = ()
    nullable: bool = True
    datetime: bool = False


@dataclass(frozen=True)
class Event:
    """One kind of event and the fields of its ``data``. ``needs_content``: ``contentId`` is required."""

    name: str
    description: str
    fields: tuple[Field, ...] = ()
    needs_content: bool = True


@dataclass(frozen=True)
class DataType:
    """One of the three families of events; each has a table of its own and is never mixed in a file."""

    name: str
    table: str
    description: str
    events: tuple[Event, ...]
    has_current_time: bool = False

    @cached_property
    def event(self) -> Mapping[str, Event]:
        """The events by name."""
        return {event.name: event for event in self.events}

    @cached_property
    def data_fields(self) -> tuple[str, ...]:
        """The names of all ``data`` fields of this data type, each once, in the catalogue's order."""
        return tuple(dict.fromkeys(f.name for event in self.events for f in event.fields))

    @cached_property
    def row_fields(self) -> tuple[Field, ...]:
        """The fields of an exported row, in order."""
        return tuple(f for f in ROW_FIELDS if f.name != "currentTime" or self.has_current_time)

    @cached_property
    def incoming_fields(self) -> tuple[Field, ...]:
        """The top-level keys a landing line may have; others are dropped and counted."""
        return tuple(f for f in self.row_fields if f.name != "dataType")

    @cached_property
    def csv_columns(self) -> tuple[str, ...]:
        """The CSV header: the row fields with ``data`` replaced by its fields and ``data.extra``."""
        columns: list[str] = []
        for f in self.row_fields:
            if f.name == "data":
                columns += [f"data.{name}" for name in self.data_fields]
                columns.append("data.extra")
            else:
                columns.append(f.name)
        return tuple(columns)


def _text(name: str, description: str, *values: str) -> Field:
    return Field(name, "string", description, values=values)


def _ms(name: str, description: str) -> Field:
    return Field(name, "integer", description, unit="ms")


def _s(name: str, description: str) -> Field:
    return Field(name, "number", description, unit="s")


def _count(name: str, description: str) -> Field:
    return Field(name, "integer", description)


def _flag(name: str, description: str) -> Field:
    return Field(name, "boolean", description)


DEVICE_TYPES = ("ios", "android", "web")

ROW_FIELDS: tuple[Field, ...] = (
    Field("event", "string", "Name of the event", nullable=False),
    Field("contentId", "string", "The video; may be null for feedEntry, feedExit, swipe and ads"),
    Field("userId", "string", "Identified user, or the anonymous device id before login", nullable=False),
    Field("timestamp", "string", "When it happened (UTC, milliseconds)", nullable=False, datetime=True),
    Field("sessionId", "string", "The session it belongs to"),
    Field("deviceType", "string", "Kind of device", values=DEVICE_TYPES, nullable=False),
    Field("currentTime", "number", "Playback position", unit="s"),
    Field("data", "object", "The event's own fields; unknown keys are kept", nullable=False),
    Field("deviceId", "string", "The device"),
    Field("country", "string", "ISO 3166-1 alpha-2 country code"),
    Field("eventId", "string", "Unique in its data type; deduplicate on it", nullable=False),
    Field(
        "receivedAt",
        "string",
        "When the platform received it (UTC, milliseconds)",
        nullable=False,
        datetime=True,
    ),
    Field("dataType", "string", "Data type of the row", nullable=False),
)

_RENDITION = _text("rendition", "Rendition that was played, such as 720p")
_NETWORK = _text("networkType", "Network the device was on, such as wifi or 4g")
_AD = _text("adId", "The ad")
_AD_NETWORK = _text("adNetworkId", "The network that served the ad")

EVENTS = DataType(
    "events",
    "engagement_events",
    "Engagement: what people watched and did",
    (
        Event(
            "impression",
            "A video became visible",
            (
                _count("position", "Position in the list, from 0"),
                _text("entryPoint", "Where it was shown", "feed", "search", "direct", "share"),
                _text("feedId", "The feed it was shown in"),
            ),
        ),
        Event(
            "playStart",
            "Playback began",
            (
                _ms("startupTime", "Time from request to first frame"),
                _RENDITION,
                _text("codec", "Video codec", "h264", "av1"),
                _flag("autoplay", "Started without a tap"),
            ),
        ),
        Event(
            "watchProgress",
            "Playback goes on; about one a second",
            (
                _s("currentTime", "Playback position"),
                _s("duration", "Length of the video"),
                Field("percentComplete", "number", "Share watched, 0 to 100", unit="percent"),
                _RENDITION,
                Field("bitrate", "number", "Bitrate played", unit="kbps"),
            ),
        ),
        Event(
            "completion",
            "The video was watched to its end",
            (
                _s("watchTime", "Time watched"),
                _flag("looped", "It began again"),
                _count("loopCount", "How often it began again"),
            ),
        ),
        Event(
            "swipe",
            "Moved from one video to another",
            (
                _text("fromContentId", "The video left"),
                _text("toContentId", "The video entered"),
                _s("watchTimeOnFrom", "Time watched of the video left"),
                _text("direction", "Direction of the swipe", "next", "previous"),
            ),
            needs_content=False,
        ),
        Event(
            "interaction",
            "A tap on anything in the player",
            (
                _text("interactionType", "What was tapped"),
                Field("value", "any", "Value of the interaction, of any type"),
            ),
        ),
        Event("like", "Liked the video"),
        Event("share", "Shared the video", (_text("platform", "Where it was shared to"),)),
        Event("save", "Saved the video"),
        Event(
            "feedEntry",
            "The feed was opened",
            (_text("entryPoint", "How it was opened", "tab", "widget", "deepLink"),),
            needs_content=False,
        ),
        Event(
            "feedExit",
            "The feed was left",
            (
                _s("totalSessionTime", "Length of the session"),
                _count("videosWatched", "Videos watched in the session"),
                _count("adsWatched", "Ads watched in the session"),
                _text("exitMethod", "How it was left"),
            ),
            needs_content=False,
        ),
    ),
)

QUALITY = DataType(
    "quality",
    "quality_events",
    "Playback quality: what went wrong or changed",
    (
        Event(
            "rebuffer",
            "Playback stalled",
            (_ms("duration", "Length of the stall"), _RENDITION, _NETWORK),
        ),
        Event(
            "qualityChange",
            "The player changed the rendition",
            (
                _text("fromQuality", "Rendition before"),
                _text("toQuality", "Rendition after"),
                _text("reason", "Why it changed", "bandwidth", "buffer"),
            ),
        ),
        Event(
            "error",
            "Playback failed",
            (
                _text("errorCode", "Code of the error"),
                _text("errorMessage", "Text of the error"),
                _text("errorType", "Where it failed", "network", "decode", "player"),
                _NETWORK,
                Field("deviceInfo", "object", "What is known of the device"),
            ),
        ),
    ),
    has_current_time=True,
)

ADS = DataType(
    "ads",
    "ad_events",
    "Ads: shown, watched, clicked",
    (
        Event(
            "impression",
            "An ad was shown",
            (
                _AD,
                _AD_NETWORK,
                _text("contentIdBefore", "The video before the ad"),
                _count("position", "Position in the feed"),
            ),
            needs_content=False,
        ),
        Event(
            "completion",
            "An ad ended",
            (
                _AD,
                _s("watchTime", "Time watched"),
                _flag("didComplete", "Watched to its end"),
                _flag("didSkip", "Skipped"),
            ),
            needs_content=False,
        ),
        Event(
            "click",
            "An ad was clicked",
            (_AD, _AD_NETWORK, _text("destination", "Where the click leads")),
            needs_content=False,
        ),
    ),
)

DATA_TYPES: Mapping[str, DataType] = {t.name: t for t in (EVENTS, QUALITY, ADS)}
"""The data types by name, in the contract's order."""


@dataclass(frozen=True)
class UserTable:
    """A table that says who a person is; the newest row of ``key`` counts.

    ``landing`` is the folder under ``landing/users/``; ``newest_by`` names the timestamp compared.
    """

    name: str
    landing: str
    description: str
    fields: tuple[Field, ...]
    key: tuple[str, ...]
    newest_by: str


def _id(name: str, description: str) -> Field:
    return Field(name, "string", description, nullable=False)


def _instant(name: str, description: str) -> Field:
    return Field(name, "string", description, nullable=False, datetime=True)


USER_TABLES: Mapping[str, UserTable] = {
    t.landing: t
    for t in (
        UserTable(
            "user_profiles",
            "profiles",
            "Profiles of identified users",
            (
                _id("userId", "Identified user"),
                _instant("createdAt", "When the profile was made or last changed"),
                Field("topicAffinities", "object", "Interest by topic, 0 to 1"),
                Field("engagementSummary", "object", "Totals of the user's engagement"),
            ),
            ("userId",),
            "createdAt",
        ),
        UserTable(
            "device_links",
            "devices",
            "Anonymous device ids that a user logged in from",
            (
                _id("userId", "Identified user"),
                _id("deviceId", "Anonymous device id"),
                _instant("linkedAt", "When the user logged in on the device"),
            ),
            ("userId", "deviceId"),
            "linkedAt",
        ),
        UserTable(
            "experiment_assignments",
            "experiments",
            "Experiments a user takes part in",
            (
                _id("userId", "Identified user"),
                _id("experimentId", "The experiment"),
                _id("variant", "Variant the user sees"),
                _instant("assignedAt", "When the user was assigned"),
            ),
            ("userId", "experimentId"),
            "assignedAt",
        ),
    )
}
"""The user tables by the name of their landing folder."""


def vocabulary() -> frozenset[str]:
    """Every word that the catalogue itself puts into rows, files and their names."""
    words = {*DATA_TYPES, *USER_TABLES}
    for data_type in DATA_TYPES.values():
        fields = [*data_type.row_fields, *(f for event in data_type.events for f in event.fields)]
        words |= {data_type.table, *data_type.event, *(f.name for f in fields)}
        words |= {value for f in fields for value in f.values}
    for table in USER_TABLES.values():
        words |= {table.name, *(f.name for f in table.fields)}
    return frozenset(words)


def numeric_columns() -> frozenset[str]:
    """The CSV columns that hold numbers or truth values."""
    numeric = ("integer", "number", "boolean")
    found: set[str] = set()
    texts: set[str] = set()
    for data_type in DATA_TYPES.values():
        fields = [(f.name, f) for f in data_type.row_fields]
        fields += [(f"data.{f.name}", f) for event in data_type.events for f in event.fields]
        for name, f in fields:
            (found if f.type in numeric else texts).add(name)
    return frozenset(found - texts)
