"""The SQLite files of the deployment: what it means when one is lost or cannot be used."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DatabaseError, OperationalError

from export_pipeline.errors import DamagedData, TransientError
from export_pipeline.settings import Settings


@contextmanager
def opening(path: Path, settings: Settings) -> Iterator[None]:
    """The block opens the database at ``path``, or makes it where nothing is stored yet.

    Raises:
        DamagedData: if it is lost or empty while the store holds rows, as going on without it would lose or
            double them; or if it is no database.
        TransientError: if others kept it locked for too long.
    """
    written = (path, path.with_name(f"{path.name}-wal"))
    if not any(map(_filled, written)) and any(settings.store.rglob("*.parquet")):
        raise DamagedData(f"{path.name} is missing or empty while the store holds rows; restore it")
    try:
        yield
    except OperationalError as error:
        if "locked" in str(error.orig):
            raise TransientError(f"{path.name} is locked by others; try again") from None
        raise DamagedData(f"{path.name} cannot be opened: {error.orig}") from None
    except DatabaseError as error:
        raise DamagedData(f"{path.name} cannot be used: {error.orig}; restore it") from None


def _filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
