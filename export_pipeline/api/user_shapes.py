"""The shapes of the calls about one person, as the OpenAPI document shows them."""

from typing import Literal

from pydantic import Field

from export_pipeline.api.shapes import Instant, Shape, Status, Text, sometimes

ACCESS_ID = "usr_exp_7d1e0c5a94b24f8c9a3b6e10"
USER_ID = "user_00000001"


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
