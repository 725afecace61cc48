"""What JSON values look like in the text of a line, as RE2 patterns that fit nothing but JSON.

They are narrower than JSON: a string without surrogates and NUL, a number with an exponent no double is too
small for. A value that fits is read the same by every reader.
"""

import re
from collections.abc import Iterable

_HEX = "[0-9a-fA-F]"
_ESCAPED = (
    rf'\\["\\/bfnrt]|\\u(?:00[2-9a-fA-F]{_HEX}|0[1-9a-fA-F]{_HEX}{{2}}'
    rf"|[1-9a-cefA-CEF]{_HEX}{{3}}|[dD][0-7]{_HEX}{{2}})"
)
_CHARACTER = rf'(?:[^"\\\x00-\x1f]|{_ESCAPED})'

STRING = f'"{_CHARACTER}*"'
TEXT = f'"{_CHARACTER}+"'
"""A string that is not empty."""

INTEGER = "-?(?:0|[1-9][0-9]*)"
NUMBER = rf"{INTEGER}(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{{1,2}})?"
SCALAR = f"(?:{STRING}|{NUMBER}|true|false|null)"

_KEPT_APART = ", ?"
NESTED = (
    rf"(?:{SCALAR}|\[(?:{SCALAR}(?:{_KEPT_APART}{SCALAR})*)?\]"
    rf"|\{{(?:{STRING}: ?{SCALAR}(?:{_KEPT_APART}{STRING}: ?{SCALAR})*)?\}})"
)
"""Any value with at most one array or object around it, keys that stand twice included."""

OF_TYPE = {
    "string": STRING,
    "integer": INTEGER,
    "number": NUMBER,
    "boolean": "true|false",
    "any": SCALAR,
}

_KEY = re.compile(r"[A-Za-z0-9_.-]+")


def one_of(texts: Iterable[str]) -> str:
    """One of the strings ``texts``."""
    return f'"(?:{"|".join(map(re.escape, texts))})"'


def or_null(pattern: str) -> str:
    """``pattern`` or null."""
    return f"(?:{pattern}|null)"


def members(values: Iterable[tuple[str, str]]) -> str | None:
    """An object with these keys in this order, each with a value that fits its pattern.

    Between its parts there may be one space, as common writers put it. None if a key has a character that
    writers spell in different ways.
    """
    pairs = list(values)
    if not all(_KEY.fullmatch(key) for key, _ in pairs):
        return None
    return r"\{" + _KEPT_APART.join(f'"{re.escape(key)}": ?{value}' for key, value in pairs) + r"\}"
