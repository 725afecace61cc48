"""The portal's first page."""

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from export_pipeline.portal.guards import member
from export_pipeline.portal.pages import to
from export_pipeline.portal.sections import SECTIONS

router = APIRouter(dependencies=[Depends(member)])


@router.get("/")
def home(request: Request) -> Response:
    """Goes on to the first page of the navigation."""
    return to(request, SECTIONS[0].links[0].path)
