"""Operation → Status: what is stored, due and broken."""

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from export_pipeline.api.deployment import deployment
from export_pipeline.days import utc_now
from export_pipeline.operations.status import status
from export_pipeline.portal.guards import member
from export_pipeline.portal.pages import page

router = APIRouter(dependencies=[Depends(member)])


@router.get("/status")
def show(request: Request) -> Response:
    """The state of the deployment now."""
    here = deployment(request)
    found = status(here.settings, here.store, here.ledger, utc_now())
    return page(request, "status.html", found=found, dagster=here.settings.dagster_url)
