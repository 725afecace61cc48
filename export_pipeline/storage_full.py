"""Whether an error says that no room is left, whichever library met it, and how that is told."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from export_pipeline.errors import StorageFull

_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
_DISK_FULL = "53100"
"""PostgreSQL's code."""
_SIGNS = (
    "No space left",
    "Disk quota exceeded",
    "disk is full",  # SQLite
    "max_temp_directory_size",  # DuckDB, as are the next; it could not spill what memory does not hold
    "failed to pin block",
    "failed to offload",
)
_OPERATIONAL = "OperationalError"
"""What each driver of a database calls the class of what fails for want of means; the texts of others quote
rows, in which the signs may stand."""


def is_full(error: BaseException) -> bool:
    """Whether ``error``, or what a library wrapped into it, is that no room is left."""
    each: BaseException | None = error
    seen: list[BaseException] = []
    while each is not None and each not in seen:
        if _says_full(each):
            return True
        seen.append(each)
        each = getattr(each, "orig", None) or each.__cause__
    return False


def _says_full(error: BaseException) -> bool:
    if isinstance(error, StorageFull):
        return True
    if isinstance(error, OSError):
        return error.errno in _NUMBERS or any(sign in str(error) for sign in _SIGNS)
    if not any(kind.__name__ == _OPERATIONAL for kind in type(error).__mro__):
        return False
    if hasattr(error, "orig"):
        # SQLAlchemy adds the statement to the text; what the driver said is looked at by itself.
        return False
    return getattr(error, "pgcode", None) == _DISK_FULL or any(sign in str(error) for sign in _SIGNS)


def no_room(to: str, advice: str = "try again") -> StorageFull:
    """The error that tells that there is no room left.

    Args:
        to: what room was needed to do.
        advice: what to do once there is some.
    """
    return StorageFull(f"no room is left to {to}; free some and {advice}")


@contextmanager
def needing_room(place: str, advice: str = "try again") -> Iterator[None]:
    """Turn the lack of room while the block writes in ``place`` into ``StorageFull``."""
    try:
        yield
    except StorageFull:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        # What the library says may quote values of a row.
        raise no_room(f"write in {place}", advice) from None
