"""What a caller gave, as an error may show it.

Anything may have been put anywhere, somebody's id too, and no error may hold one: what has not the form of a
name is not repeated.
"""

import re
from collections.abc import Iterable, Sequence

from export_pipeline.errors import InvalidRequest

_NAME = re.compile(r"(?=.{1,40}$)[A-Za-z]+(\.[A-Za-z]+)*", re.ASCII)  # of fields, states, events
_KINDS = {type(None): "null", bool: "a boolean", str: "a string", dict: "an object", list: "a list"}


def shown(value: object) -> str:
    """``value`` if it has the form of a name, otherwise what kind of thing it is."""
    if not isinstance(value, str) or not value:
        return kind(value)
    return repr(value) if _NAME.fullmatch(value) else "a string that is not repeated"


def kind(value: object) -> str:
    """What kind of thing ``value`` is, in the words of JSON."""
    if value == "":
        return "an empty string"
    return _KINDS.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


def one_of(value: object, names: Sequence[str], field: str) -> str:
    """``value``, which must be one of ``names``.

    Raises:
        InvalidRequest: naming ``field``.
    """
    if isinstance(value, str) and value in names:
        return value
    raise InvalidRequest(f"{field} is {shown(value)}; it must be one of {', '.join(names)}", field=field)


def check_names(
    given: Iterable[str],
    known: Sequence[str],
    *,
    noun: str = "field",
    prefix: str = "",
    whole: str = "body",
) -> None:
    """Refuse a name that is none of those ``known``.

    Args:
        noun: what it is the name of.
        prefix: what stands before each of the names when it is told.
        whole: what holds them; it is told instead of a name that is not repeated.

    Raises:
        InvalidRequest: naming it.
    """
    for name in given:
        if name not in known:
            right = f"the {noun}s are {', '.join(known)}" if known else "there is none"
            if not _NAME.fullmatch(name):
                raise InvalidRequest(f"{whole} holds a {noun} that is not known; {right}", field=whole)
            raise InvalidRequest(f"{prefix}{name} is not a {noun}; {right}", field=f"{prefix}{name}")
