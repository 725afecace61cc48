"""Telling that no room is left, whichever library met it first."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
from sqlalchemy.exc import OperationalError

from export_pipeline.errors import StorageFull

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_SIGNS = ("No space left", "max_temp_directory_size", "disk is full", "Disk quota exceeded")


@contextmanager
def needing_space(root: Path) -> Iterator[None]:
    """Turn the lack of room below ``root`` while the block writes into ``StorageFull``."""
    try:
        yield
    except (OSError, duckdb.Error, OperationalError) as error:
        number = error.errno if isinstance(error, OSError) else None
        if number in _NO_ROOM or any(sign in str(error) for sign in _SIGNS):
            # What the library says may quote values of a row.
            raise StorageFull(
                f"no room is left to write in {root}; free some and run ingest again, it loses nothing"
            ) from None
        raise
