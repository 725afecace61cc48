"""A gzip member, repeatable to the byte (contract, section 3)."""

from typing import Any

from isal import isal_zlib

_LEVEL = 0
"""Of isal's fast levels the one whose bytes are the same in every process; those of 1 and 2 differ."""
_GZIP = 31


def member(content: Any) -> bytes:
    """``content``, any bytes, as a gzip member; no time or name is in it."""
    return isal_zlib.compress(content, _LEVEL, _GZIP)
