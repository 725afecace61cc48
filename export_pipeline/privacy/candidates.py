"""Where in bytes an id may be: one pass of a machine made of all ids in all their forms.

Finds too much and never too little; ``matching`` judges what is found.
"""

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import hyperscan
import numpy as np
from numpy.typing import NDArray

UNESCAPED = re.compile(r"[A-Za-z0-9_.~-]")
"""Characters that no form escapes unless it escapes everything."""

_BACKSLASH = rb"(?:\\|%(?:25)*5[cC])"

_FORM_CHARACTERS = 48
"""Characters of an id that are looked for in every form; what follows them is judged afterwards."""


@dataclass(frozen=True)
class Hits:
    """Candidates in order of finding: the expression's index, and the offset at which it ends."""

    expressions: NDArray[np.int64]
    ends: NDArray[np.int64]


class Machine:
    """Expressions over bytes, looked for all at once; may be used by several threads."""

    def __init__(self, expressions: Sequence[bytes], *, caseless: Iterable[int] = ()) -> None:
        self._database: Any = None
        self._local = threading.local()
        if expressions:
            flags = [hyperscan.HS_FLAG_DOTALL] * len(expressions)
            for index in caseless:
                flags[index] |= hyperscan.HS_FLAG_CASELESS
            self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
            self._database.compile(
                expressions=list(expressions),
                ids=list(range(len(expressions))),
                elements=len(expressions),
                flags=flags,
            )

    def hits(self, content: Any) -> Hits:
        """The candidates in ``content``, an object with a contiguous buffer."""
        found: list[int] = []

        def note(expression: int, _start: int, end: int, _flags: int, _context: object) -> None:
            found.extend((expression, end))

        if self._database is not None and len(content):
            if not hasattr(self._local, "scratch"):
                self._local.scratch = hyperscan.Scratch(self._database)
            self._database.scan(content, match_event_handler=note, scratch=self._local.scratch)
        pairs = np.array(found, np.int64).reshape(-1, 2)
        return Hits(pairs[:, 0], pairs[:, 1])


def in_every_form(text: str) -> bytes:
    """An expression that ends inside or after ``text`` wherever it stands, in any form.

    For a text that no form escapes it is the text, so it ends where the text does.
    """
    if not UNESCAPED.sub("", text):
        return _literal(text.encode())
    return b"".join(_character(character) for character in text[:_FORM_CHARACTERS])


def needless_escapes(texts: Iterable[str]) -> bytes | None:
    """An expression for escapes of characters that need none; None if there are no such characters."""
    codes = sorted({b"%02x" % ord(c) for text in texts for c in text if UNESCAPED.fullmatch(c)})
    if not codes:
        return None
    decimal = b"|".join(b"%d" % int(code, 16) for code in codes)
    code = b"|".join(codes)
    return (
        rb"\\u00(?:%s)|\\x(?:%s)|%%(?:25)*(?:%s)|&#(?:x0*(?:%s)|0*(?:%s));"
        % (code, code, code, code, decimal)
    )  # fmt: skip


def _character(character: str) -> bytes:
    if UNESCAPED.fullmatch(character):
        return _literal(character.encode())
    forms = [_BACKSLASH + b"*" + _literal(character.encode()) + (b"{1,4}" if character == '"' else b"")]
    units = character.encode("utf-16-be")
    forms.append(b"".join(_BACKSLASH + b"+u" + _hex(units[i : i + 2]) for i in range(0, len(units), 2)))
    forms.append(
        _BACKSLASH + b"*" + b"".join(rb"%(?:25)*" + _hex(bytes([byte])) for byte in character.encode())
    )
    forms.append(rb"&(?:amp;)*[#0-9A-Za-z]{1,8};")
    if character == " ":
        forms.append(rb"\+")
    if character in "\b\f\n\r\t":
        forms.append(_BACKSLASH + b"+[bfnrt]")
    if ord(character) < 0x100:
        forms.append(_BACKSLASH + b"+x" + _hex(bytes([ord(character)])))
    return b"(?:" + b"|".join(forms) + b")"


def _literal(content: bytes) -> bytes:
    return b"".join(rb"\x%02x" % byte for byte in content)


def _hex(content: bytes) -> bytes:
    return b"".join(b"[%s%s]" % (d.lower(), d.upper()) for d in re.findall(b".", content.hex().encode()))
