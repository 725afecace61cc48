"""What an error of the object store means for a user: try again, or a setting or right is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa
from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError

from export_pipeline.buckets import code_of
from export_pipeline.errors import ExportPipelineError, InvalidSetting, TransientError

FIELD = "EXPORT_PIPELINE_OBJECT_STORE"
_REFUSED = (
    "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
    "AllAccessDisabled", "AccountProblem", "403", "Forbidden",
)  # fmt: skip
_RETRY = "the object store does not answer as it should; nothing is lost, try again"


@contextmanager
def answering() -> Iterator[None]:
    """Turn what the object store answers in the block, or that it does not, into an error for a user.

    Raises:
        TransientError: if it does not answer, or says that it cannot now.
        InvalidSetting: if there is no such bucket, or the credentials are missing or may not do it.
    """
    try:
        yield
    except ExportPipelineError:
        raise
    except Exception as error:
        meant = explained(error)
        if meant is None:
            raise
        raise meant from None


def is_gone(error: BaseException) -> bool:
    """Whether pyarrow, or DuckDB that reads by it, says that an object was removed or replaced."""
    text = str(error)
    return "AWS Error" in text and any(
        name in text for name in ("RESOURCE_NOT_FOUND", "NO_SUCH_KEY", "InvalidRange")
    )


def explained(error: BaseException) -> ExportPipelineError | None:
    """What an error means if it is one of the object store; None if it is another."""
    code = code_of(error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return InvalidSetting(
            f"{FIELD} is set, and no credentials were found; give them by the usual means of AWS", field=FIELD
        )
    if code == "NoSuchBucket":
        return InvalidSetting(f"{FIELD} names a bucket that is not there; it must be made first", field=FIELD)
    if code in _REFUSED:
        return InvalidSetting(
            f"{FIELD}: the object store refuses the credentials ({code}); they must be valid and may list, "
            "read, write and remove objects there",
            field=FIELD,
        )
    if code is not None:
        # A missing or changed object is for whoever reads it to judge.
        return None if code in ("NoSuchKey", "404", "PreconditionFailed") else TransientError(_RETRY)
    if isinstance(error, BotoCoreError) or type(error).__module__.partition(".")[0] == "aiohttp":
        return TransientError(_RETRY)
    if isinstance(error, OSError | pa.ArrowException | duckdb.Error) and "AWS Error" in str(error):
        # As pyarrow tells it, and DuckDB that reads by it.
        text = str(error)
        if is_gone(error):
            return None
        if "NO_SUCH_BUCKET" in text:
            return InvalidSetting(
                f"{FIELD} names a bucket that is not there; it must be made first", field=FIELD
            )
        if any(name in text for name in ("ACCESS_DENIED", "INVALID_ACCESS_KEY", "SIGNATURE")):
            return InvalidSetting(f"{FIELD}: the object store refuses the credentials", field=FIELD)
        return TransientError(_RETRY)
    return None
