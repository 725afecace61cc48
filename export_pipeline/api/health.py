"""Whether the server lives, whether it can work, and what it counted; for machines, without a key."""

import os
from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response
from upath import UPath

from export_pipeline import buckets
from export_pipeline.api.deployment import deployment
from export_pipeline.days import utc_now
from export_pipeline.objects import is_remote

router = APIRouter(tags=["Operation"])


@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> Response:
    """Answers as long as the process can answer at all."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    summary="Whether it can work",
    responses={503: {"description": "Something it needs does not work"}},
)
def readyz(request: Request) -> Response:
    """Looks at the ledger, the tables, where exports lie and the state root; needs no Dagster to answer."""
    here = deployment(request)
    checks: dict[str, Callable[[], object]] = {
        "ledger": lambda: here.ledger.jobs.open(utc_now()),
        "store": lambda: here.store.files("engagement_events", utc_now().date(), utc_now().date()),
        "exports": lambda: _usable(here.settings.exports),
        "root": lambda: _usable(UPath(here.settings.root)),
    }
    found = {name: _works(check) for name, check in checks.items()}
    ready = all(found.values())
    document = {
        "status": "ready" if ready else "not ready",
        "checks": {name: "ok" if works else "failed" for name, works in found.items()},
    }
    return JSONResponse(document, 200 if ready else 503)


def _works(check: Callable[[], object]) -> bool:
    try:
        check()
    except Exception:
        return False
    return True


def _usable(folder: UPath) -> None:
    if is_remote(folder):
        next(buckets.listed(folder, deep=False), None)
    elif folder.exists() and not os.access(str(folder), os.W_OK):
        raise PermissionError


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """Requests by route, how long they took, bytes downloaded, jobs that are open."""
    return Response(deployment(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
