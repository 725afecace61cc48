"""What an exception means to who is told of it: whether it may pass, whose affair it is, and the words.

Only our own errors are known to hold neither rows nor ids; of any other, the type and the place are told.
"""

import traceback
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import BotoCoreError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from export_pipeline.errors import (
    DamagedData,
    ExportPipelineError,
    InvalidSetting,
    StorageFull,
    TransientError,
)
from export_pipeline.outages import explained
from export_pipeline.storage_full import is_full, no_room

BUSY = "the database is locked by others or cannot be reached; try again"
_UNREACHABLE = "data cannot be reached at the moment; try again later, or tell the operator"
_DATABASE = (OperationalError, PoolTimeout)
FAILURES: tuple[type[Exception], ...] = (ExportPipelineError, *_DATABASE, BotoCoreError, OSError)
"""The types of what ``answer_to`` may have an answer to."""


@dataclass(frozen=True)
class Work:
    """What somebody asked for, in the words in which its failure is told."""

    name: str
    done: str
    data: str


EXPORT = Work("export", "write the export", "stored data of the days asked for")
ERASURE = Work("erasure", "erase", "stored data that has to be searched")


def meaning(error: BaseException) -> ExportPipelineError | None:
    """What ``error`` means; None if it is a defect."""
    if isinstance(error, ExportPipelineError):
        return error
    if is_full(error):
        return no_room("write")
    if isinstance(error, _DATABASE):
        return TransientError(BUSY)
    return explained(error)


def may_pass(error: BaseException) -> bool:
    """Whether the same may work the next time."""
    return isinstance(meaning(error), TransientError)


def defect(error: BaseException) -> str:
    """The type of an error and where it came from, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    place = frames[-1]
    return f"{type(error).__name__} in {place.name}, line {place.lineno} of {Path(place.filename).name}"


def in_words(error: BaseException) -> str:
    """The code and what went wrong, for a log that operators read."""
    meant = meaning(error)
    if meant is None:
        return f"{ExportPipelineError.code}: {defect(error)}"
    return f"{meant.code}: {meant.message}"


def answer_to(error: BaseException) -> ExportPipelineError | None:
    """What who asks from outside is told of an error; None if it is a defect."""
    meant = meaning(error)
    if isinstance(meant, InvalidSetting) or (meant is not None and explained(error)):
        # Which store it is, and what it answers, is the operator's affair.
        return TransientError(_UNREACHABLE)
    return meant


def verdict(error: BaseException, work: Work) -> tuple[str, str]:
    """The code and the words in which who asked for ``work`` is told that it failed; neither paths nor rows
    are in them."""
    meant = meaning(error)
    if meant is None:
        return (
            ExportPipelineError.code,
            f"the {work.name} failed by a defect; the operator finds the place in the log",
        )
    if isinstance(meant, StorageFull):
        return meant.code, f"no room was left to {work.done}; the operator has to free some"
    if isinstance(meant, DamagedData):
        return meant.code, f"{work.data} is damaged; the operator has to repair it"
    if isinstance(meant, InvalidSetting):
        return TransientError.code, _UNREACHABLE
    if isinstance(error, _DATABASE):
        return meant.code, f"the database could not be used for too long; ask for the {work.name} again"
    return meant.code, meant.message
