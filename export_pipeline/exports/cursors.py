"""Cursors: up to which batches an export holds what was taken, signed, and handed in to get what came since.

A cursor is opaque to who holds it. Owns its form, who may have made it, and what several of them mean
together; which rows came since is found by ``looking`` (contract, section 8).
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from export_pipeline import secrets
from export_pipeline.days import oldest_kept_day
from export_pipeline.errors import InvalidRequest, OutsideRetention
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.given import shown
from export_pipeline.settings import Settings

MOST = 400
"""Cursors that can be handed in together: those of the daily exports of a quarter, and more."""

_KEY = "cursor"
_PREFIX = "cur_"
_VERSION = 1
_SIGNATURE_BYTES = 18
_LONGEST = 2000


@dataclass(frozen=True)
class Cursor:
    """Whoever has the export holds every row of its days that came with batches up to its watermarks.

    ``watermarks`` are by data type. ``start`` and ``end`` are its first and last day; after an increment
    ``everywhere`` is set, as then all days are held as far. ``at`` is the instant it was made.
    """

    start: date
    end: date
    at: datetime
    watermarks: Mapping[str, int]
    everywhere: bool = False


@dataclass(frozen=True)
class Since:
    """What an increment goes on from: cursors, as texts and as what they say.

    ``kept_from`` is the first day that was inside raw retention when it was asked for.
    """

    texts: tuple[str, ...]
    cursors: tuple[Cursor, ...]
    kept_from: date

    @property
    def start(self) -> date:
        """The first day of what is held."""
        return min(cursor.start for cursor in self.cursors)

    @property
    def end(self) -> date:
        """The last day of what is held."""
        return max(cursor.end for cursor in self.cursors)

    @property
    def data_types(self) -> tuple[str, ...]:
        """The data types of which something is held."""
        return tuple(dict.fromkeys(name for cursor in self.cursors for name in cursor.watermarks))

    def watermarks(self, data_type: str) -> tuple[int, ...]:
        """The watermarks that count for some day of a data type, lowest first."""
        return tuple(sorted({cursor.watermarks[data_type] for cursor in self._of(data_type)}))

    def after(self, data_type: str, day: date) -> int:
        """The last batch of which a day's rows are held.

        Of a day that no export had in its range, as far as the lowest of them goes.
        """
        known = self._of(data_type)
        inside = [c.watermarks[data_type] for c in known if c.everywhere or c.start <= day <= c.end]
        return max(inside) if inside else min(cursor.watermarks[data_type] for cursor in known)

    def _of(self, data_type: str) -> list[Cursor]:
        return [cursor for cursor in self.cursors if data_type in cursor.watermarks]


def signed(settings: Settings, cursor: Cursor) -> str:
    """The text that stands for ``cursor``; only this deployment can make it."""
    said = {
        "v": _VERSION,
        "start": cursor.start.isoformat(),
        "end": cursor.end.isoformat(),
        "at": int(cursor.at.timestamp()),
        "all": cursor.everywhere,
        "marks": dict(cursor.watermarks),
    }
    body = json.dumps(said, separators=(",", ":")).encode()
    return _packed(_signature(settings, body) + body)


def _packed(raw: bytes) -> str:
    return _PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def parse_since(value: object, *, now: datetime, settings: Settings) -> Since:
    """The cursor, or the list of cursors, that a request hands in.

    Raises:
        InvalidRequest: naming ``cursor``, if one was not made here, or not of this form.
        OutsideRetention: if one is older than raw events are kept, so that something since may be gone.
    """
    given = value if isinstance(value, list | tuple) else [value]
    if not 1 <= len(given) <= MOST:
        raise _refused(f"holds {len(given)} cursors; it must be one, or a list of 1 to {MOST}")
    texts: list[str] = []
    for text in given:
        if not isinstance(text, str):
            raise _refused(f"is {'null' if text is None else type(text).__name__}; it must be a text")
        texts.append(text)
    cursors = tuple(read_cursor(settings, text) for text in dict.fromkeys(texts))
    oldest = oldest_kept_day(now, settings.raw_retention_days)
    for cursor in cursors:
        if cursor.at.date() < oldest:
            raise OutsideRetention(
                f"cursor is of {cursor.at:%Y-%m-%d}; raw events are kept for {settings.raw_retention_days} "
                f"days, so some that came since may be gone: export from {oldest} on, and go on from there",
                field="cursor",
            )
    return Since(tuple(dict.fromkeys(texts)), cursors, oldest)


def together(cursors: Sequence[Cursor], watermarks: Mapping[str, int], at: datetime) -> Cursor:
    """What is held after an increment from ``cursors`` up to ``watermarks``."""
    return Cursor(
        min(cursor.start for cursor in cursors),
        max(cursor.end for cursor in cursors),
        at,
        dict(watermarks),
        everywhere=True,
    )


def read_cursor(settings: Settings, text: str) -> Cursor:
    """What a cursor says.

    Raises:
        InvalidRequest: naming ``cursor``, if it was not made here.
    """
    try:
        if not text.startswith(_PREFIX) or len(text) > _LONGEST:
            raise ValueError
        packed = text.removeprefix(_PREFIX)
        raw = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        if _packed(raw) != text:
            raise ValueError
    except ValueError:
        raise _refused(f"is {shown(text)}; it must be the cursor of a manifest or of an answer") from None
    signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(settings, body)):
        raise _refused("was changed, or comes from another deployment; it must be one that was made here")
    try:
        return _cursor(json.loads(body))
    except (KeyError, TypeError, ValueError):
        raise _refused("was made by another version of this program; export again in full") from None


def _cursor(said: dict[str, Any]) -> Cursor:
    watermarks = {str(name): int(mark) for name, mark in said["marks"].items()}
    if said["v"] != _VERSION or not watermarks or not watermarks.keys() <= DATA_TYPES.keys():
        raise ValueError
    start, end = date.fromisoformat(said["start"]), date.fromisoformat(said["end"])
    at = datetime.fromtimestamp(said["at"], tz=UTC)
    return Cursor(start, end, at, watermarks, everywhere=bool(said["all"]))


def _signature(settings: Settings, body: bytes) -> bytes:
    return hmac.digest(secrets.key(settings, _KEY), body, hashlib.sha256)[:_SIGNATURE_BYTES]


def _refused(what: str) -> InvalidRequest:
    return InvalidRequest(f"cursor {what}", field="cursor")
