"""What can go wrong, as types: one class for each way a caller can react.

A message names the field, the value and what would be right. It never holds a user id.
"""


class ExportPipelineError(Exception):
    """Base of every error that is told to a user in one line.

    ``code`` is the error code of the contract, section 4; ``field`` names the input at fault.
    """

    code = "INTERNAL_ERROR"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class InvalidRequest(ExportPipelineError):
    """The caller asked for something that does not exist or is malformed; asking again does not help."""

    code = "VALIDATION_ERROR"


class InvalidSetting(InvalidRequest):
    """A setting has a value that cannot be used."""


class OutsideRetention(ExportPipelineError):
    """A day is no longer kept, so nothing can be computed from it (contract, section 3)."""

    code = "OUTSIDE_RETENTION"


class Unauthorized(ExportPipelineError):
    """Nobody says who asks, or the key that says so is not in force."""

    code = "UNAUTHORIZED"


class Forbidden(ExportPipelineError):
    """Who asks may not do this: a scope is missing, or a signature is wrong."""

    code = "FORBIDDEN"


class Gone(ExportPipelineError):
    """It was there and is no more: a link that ended, files past their time."""

    code = "GONE"


class NotFound(ExportPipelineError):
    """Nothing has the id that was given."""

    code = "NOT_FOUND"


class RateLimited(ExportPipelineError):
    """Too much was asked for; ``retry_after`` is the number of seconds after which to ask again."""

    code = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Conflict(ExportPipelineError):
    """The state of things forbids it now, such as an output directory that is not empty."""

    code = "CONFLICT"


class TransientError(ExportPipelineError):
    """It did not work this time and may the next: a lost race, a locked database."""

    code = "SERVICE_UNAVAILABLE"


class DamagedData(ExportPipelineError):
    """A stored or exported file is missing or is not what was written."""


class StorageFull(TransientError):
    """No room is left where files are written."""


class NotProven(ExportPipelineError):
    """Something of an erased person is left, or some of what is stored could not be searched."""

    code = "NOT_PROVEN"
