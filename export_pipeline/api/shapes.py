"""The shapes of requests and answers as the OpenAPI document shows them.

Answers are made in ``jobs`` and ``envelopes``; the tests hold every one of them against these shapes.
"""

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from export_pipeline.api.envelopes import STATUS_OF
from export_pipeline.events.catalogue import DATA_TYPES

T = TypeVar("T")

JOB_ID = "exp_5f0c2a7be91d4c3886aa01f2"
REQUEST_ID = "req_9b2f61c07d3e4a5f8c1d2e3f"

State = Literal["queued", "processing", "complete", "failed", "cancelled", "expired"]
Format = Literal["jsonl", "csv"]
Compression = Literal["gzip", "none"]
DataTypeName = Literal["events", "quality", "ads"]
Date = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$", examples=["2026-11-16"])]
Day = Annotated[Date, Field(json_schema_extra={"format": "date"})]
Instant = Annotated[
    str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$", examples=["2026-11-23T08:00:00Z"])
]
Text = Annotated[str, Field(min_length=1)]


class Shape(BaseModel):
    """Base of all shapes: no key is there that is not named."""

    model_config = ConfigDict(extra="forbid")


def sometimes(description: str | None = None) -> Any:
    """A field that is not always there; it has no default."""
    return Field(default=None, json_schema_extra=_without_default, description=description)


def _sometimes_day(description: str) -> Any:
    return Field(default=None, json_schema_extra=_optional_day, description=description)


def _optional_day(schema: dict[str, Any]) -> None:
    schema["format"] = "date"
    _without_default(schema)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class Filters(Shape):
    """Which rows are wanted: or-ed inside a list, and-ed between."""

    contentIds: Annotated[list[Text], Field(min_length=1)] = []
    userIds: Annotated[list[Text], Field(min_length=1)] = []
    eventTypes: Annotated[
        list[Literal[tuple(dict.fromkeys(e for t in DATA_TYPES.values() for e in t.event))]],  # type: ignore[valid-type]
        Field(min_length=1),
    ] = []


Cursor = Annotated[str, Field(min_length=1, examples=["cur_wJd0r3ZLQ2n5xQnU6J3Z8mVb7bB7InYiOjEs4oCm"])]


class ExportRequest(Shape):
    """A range of at most 31 days, both ends included; or a cursor, for what was taken in since."""

    startDate: Date = _sometimes_day("With `endDate`, unless there is a `cursor`.")
    endDate: Date = _sometimes_day("With `startDate`.")
    cursor: Cursor | Annotated[list[Cursor], Field(min_length=1)] = sometimes(
        "Instead of dates: the `cursor` of a manifest or of an answer, or a list of those of several "
        "exports, such as the daily ones of a range. The export holds the rows of batches taken in "
        "since, each once, whatever day they belong to. `dataTypes` are then by default those of the cursor."
    )
    dataTypes: Annotated[list[DataTypeName], Field(min_length=1)] = ["events"]
    format: Format = "jsonl"
    compression: Compression = "gzip"
    filters: Filters | None = None


class LinksRequest(Shape):
    """What becomes of the URLs given out before."""

    revokePrevious: bool = False


class Meta(Shape):
    """What is said about an answer."""

    requestId: str = Field(examples=[REQUEST_ID])


class PageMeta(Meta):
    """What is said about a page of a list."""

    total: int
    nextCursor: str | None


class Envelope(Shape, Generic[T]):
    """An answer."""

    data: T
    meta: Meta


class Page(Shape, Generic[T]):
    """A page of a list."""

    data: list[T]
    meta: PageMeta


class Details(Shape):
    """Which field is wrong, and why."""

    field: str | None
    reason: str


class Error(Shape):
    """What is wrong."""

    code: Literal[tuple(STATUS_OF)]  # type: ignore[valid-type]
    message: str
    details: Details


class Refusal(Shape):
    """An error."""

    error: Error
    meta: Meta


class Created(Shape):
    """A job that was queued."""

    jobId: str = Field(examples=[JOB_ID])
    status: Literal["queued"]
    estimatedSize: str = Field(examples=["245MB"])
    estimatedRowCount: int
    estimatedCompletion: Instant
    createdAt: Instant


class DateRange(Shape):
    """Days, both included."""

    start: Day
    end: Day


class AppliedFilters(Shape):
    """The filters of a job; users as a count only."""

    contentIds: list[str]
    eventTypes: list[str]
    userCount: int


class JobError(Shape):
    """Why a job failed."""

    code: str = Field(examples=["SUBJECT_ERASED"])
    message: str


class File(Shape):
    """A part file as in the manifest, and where it is."""

    name: str = Field(examples=["events/part-00000.jsonl.gz"])
    dataType: DataTypeName
    rows: int
    bytes: int
    sha256: str
    firstTimestamp: Instant | None
    lastTimestamp: Instant | None
    url: str


class Status(Shape):
    """A job. `error` is there if it failed; what begins with `downloadUrl`, once it is complete."""

    jobId: str = Field(examples=[JOB_ID])
    status: State
    dateRange: DateRange
    dataTypes: list[DataTypeName]
    format: Format
    compression: Compression
    filters: AppliedFilters
    mode: Literal["full", "incremental"]
    createdAt: Instant
    progress: int = Field(ge=0, le=100)
    processedRows: int
    estimatedRowCount: int
    estimatedCompletion: Instant = sometimes()
    error: JobError = sometimes()
    downloadUrl: str = sometimes()
    manifestUrl: str = sometimes()
    expiresAt: Instant = sometimes()
    fileSize: str = sometimes()
    bytes: int = sometimes()
    rowCount: int = sometimes()
    completedAt: Instant = sometimes()
    cursor: str | None = sometimes()
    files: list[File] = sometimes()


class Listed(Shape):
    """A job in a list."""

    jobId: str = Field(examples=[JOB_ID])
    status: State
    dateRange: DateRange
    format: Format
    fileSize: str | None = Field(examples=["245MB"])
    createdAt: Instant
    completedAt: Instant | None


class Cancelled(Shape):
    """A job that was cancelled."""

    jobId: str = Field(examples=[JOB_ID])
    status: Literal["cancelled"]
