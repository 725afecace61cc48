"""What the routes work on: the deployment's settings, store and ledger, and what the server counts."""

from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from export_pipeline.api.metrics import Metrics
from export_pipeline.api.rates import RateLimiter
from export_pipeline.delivery.links import HmacSigner
from export_pipeline.ledger import Ledger
from export_pipeline.settings import Settings
from export_pipeline.store import Store


@dataclass(frozen=True)
class Deployment:
    """One for each server process; everything in it is safe to share between threads."""

    settings: Settings
    store: Store
    ledger: Ledger
    metrics: Metrics
    rates: RateLimiter


def deployment(request: Request) -> Deployment:
    """The deployment that answers a request."""
    return cast(Deployment, request.app.state.deployment)


def signer(request: Request) -> HmacSigner:
    """Signs URLs that lead to where callers reach this server."""
    return HmacSigner(deployment(request).settings, str(request.base_url))
