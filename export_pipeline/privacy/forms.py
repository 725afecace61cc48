"""The forms text takes on disk: JSON-escaped, URL-encoded, HTML-escaped, quoted for CSV, and these nested.

A reading of a piece of bytes is what it says once such forms are undone; each byte of it knows where in
the piece it came from. Owns nothing about what is looked for.
"""

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

DEPTH = 4
"""How often forms are undone one after the other, as for JSON in JSON in a URL."""

_CONTROLS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def _from_json(escape: bytes) -> bytes:
    match escape[1:2]:
        case b"u":
            return _of_units(escape)
        case b"x":
            return bytes([int(escape[2:], 16)])
    return _CONTROLS.get(escape[1:], escape[1:])


def _of_units(escape: bytes) -> bytes:
    units = b"".join(int(unit, 16).to_bytes(2, "big") for unit in escape.split(b"\\u")[1:])
    return units.decode("utf-16-be", "replace").encode()


def _from_html(escape: bytes) -> bytes:
    return html.unescape(escape.decode()).encode("utf-8", "replace")


_FORMS: tuple[tuple[bytes, re.Pattern[bytes], Callable[[bytes], bytes]], ...] = (
    (
        b"\\",
        re.compile(
            rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
            rb"|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[\"'\\/bfnrt])"
        ),
        _from_json,
    ),
    (b"%", re.compile(rb"%[0-9a-fA-F]{2}"), lambda escape: bytes([int(escape[1:], 16)])),
    (b"+", re.compile(rb"\+"), lambda _: b" "),
    (b"&", re.compile(rb"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-z]{2,4});"), _from_html),
    (b'""', re.compile(rb'""'), lambda _: b'"'),
)
"""What each form cannot do without, what it escapes by, and what that stands for."""


@dataclass(frozen=True)
class Reading:
    """What a piece says: ``text``, whose byte ``i`` came from ``[starts[i], ends[i])`` of the piece."""

    text: bytes
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def undo(self, escapes: re.Pattern[bytes], meaning: Callable[[bytes], bytes]) -> "Reading":
        """The reading with one form undone."""
        text, starts, ends, at = bytearray(), list[int](), list[int](), 0
        for escape in escapes.finditer(self.text):
            first, after = escape.span()
            said = meaning(escape.group())
            text += self.text[at:first] + said
            starts += [*self.starts[at:first], *[self.starts[first]] * len(said)]
            ends += [*self.ends[at:first], *[self.ends[after - 1]] * len(said)]
            at = after
        return Reading(bytes(text) + self.text[at:], (*starts, *self.starts[at:]), (*ends, *self.ends[at:]))


def readings(piece: bytes) -> Iterator[Reading]:
    """What ``piece`` can be read as, itself first; each text once."""
    now = [Reading(piece, tuple(range(len(piece))), tuple(range(1, len(piece) + 1)))]
    seen = {piece}
    for depth in range(DEPTH + 1):
        yield from now
        if depth == DEPTH:
            return
        undone = [
            reading.undo(escapes, meaning)
            for reading in now
            for mark, escapes, meaning in _FORMS
            if mark in reading.text
        ]
        now = []
        for reading in undone:
            if reading.text not in seen:
                seen.add(reading.text)
                now.append(reading)
