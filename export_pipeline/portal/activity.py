"""Operation → Activity: what was done in the portal, by whom."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from export_pipeline.api.deployment import deployment
from export_pipeline.portal.guards import member
from export_pipeline.portal.pages import page

router = APIRouter(dependencies=[Depends(member)])

Cursor = Annotated[str | None, Query(pattern="^[0-9]{1,18}$")]


@router.get("/activity")
def show(request: Request, cursor: Cursor = None) -> Response:
    """A page of the log, newest first."""
    found, following, total = deployment(request).ledger.audit.list(50, cursor)
    return page(
        request, "activity.html", entries=found, following=following, total=total, is_first=cursor is None
    )
