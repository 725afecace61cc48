"""The shapes of the calls about one person, as the OpenAPI document shows them."""

from typing import Annotated, Literal

from pydantic import Field

from export_pipeline.api.shapes import Instant, JobError, Shape, Status, Text, sometimes

ACCESS_ID = "usr_exp_7d1e0c5a94b24f8c9a3b6e10"
USER_ID = "user_00000001"
ERASURE_ID = "era_2f7a41c09d5e4b6f8a1c3e57"


class AccessRequest(Shape):
    """Whose data is wanted."""

    userId: Text = Field(examples=[USER_ID])


class AccessCreated(Shape):
    """An access export that was queued."""

    jobId: str = Field(examples=[ACCESS_ID])
    status: Literal["queued"]
    createdAt: Instant


class AccessStatus(Status):
    """An access export; `withheld` counts rows of contested ids, which are not shown."""

    jobId: str = Field(examples=[ACCESS_ID])
    withheld: int = sometimes()


class ErasureRequest(Shape):
    """Whom to erase."""

    userIds: Annotated[list[Text], Field(min_length=1, max_length=1000, examples=[[USER_ID]])]


class ErasureCreated(Shape):
    """A request that was queued."""

    requestId: str = Field(examples=[ERASURE_ID])
    status: Literal["queued"]
    dueAt: Instant


class ErasuresCreated(Shape):
    """The requests that were queued; if it is one, what is told of it is at the top as well."""

    requests: list[ErasureCreated]
    requestId: str = sometimes()
    status: Literal["queued"] = sometimes()
    dueAt: Instant = sometimes()


class ErasureStatus(Shape):
    """An erasure. `rowsRemoved` counts by store; `error` is there if it failed, `certificateUrl` once it is
    complete."""

    requestId: str = Field(examples=[ERASURE_ID])
    status: Literal["queued", "processing", "complete", "failed"]
    createdAt: Instant
    dueAt: Instant
    rowsRemoved: dict[str, int]
    idsReplaced: dict[str, int]
    endedAt: Instant = sometimes()
    error: JobError = sometimes()
    certificateUrl: str = sometimes()
