"""Operation → Status: what is stored and how fresh it is, what failed, what is rejected, what is kept."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from threading import Lock

from botocore.exceptions import BotoCoreError
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from export_pipeline.api.deployment import Deployment, deployment
from export_pipeline.days import oldest_kept_day, utc_now
from export_pipeline.errors import DamagedData, InvalidSetting, TransientError
from export_pipeline.failures import answer_to
from export_pipeline.ingest import list_quarantined
from export_pipeline.ledger.messages import Attempt
from export_pipeline.ledger.posting import FAILED, Message
from export_pipeline.operations.alerts import Alert
from export_pipeline.operations.status import Status, status
from export_pipeline.portal.deliveries import path_of
from export_pipeline.portal.guards import member
from export_pipeline.portal.pages import page
from export_pipeline.store.tables import METRICS_TABLE, TABLE_OF

router = APIRouter(dependencies=[Depends(member)])

LOOK_AGAIN = timedelta(seconds=15)
"""A look goes through every file there is; pages within this time show the same one."""
_MOST_FAILED = 10
_PLACES = {
    "failed delivery": "/status#failed-title",
    "disabled webhook": "/webhooks/{}",
    "disabled schedule": "/schedules/{}",
    "overdue delivery": "/schedules/{}",
    "erasure": "/privacy/erasures/{}",
    "quarantine": "/status#quarantine-title",
}
"""Where the portal has what an alert of a kind is about."""


@dataclass(frozen=True)
class Rejected:
    """Lines of one landing folder in quarantine: how many for which reason, and the days they landed on."""

    target: str
    reasons: Mapping[str, int]
    first_day: date
    last_day: date


@dataclass(frozen=True)
class View:
    """What the page shows, as of ``at``; ``status`` is None where the store does not answer."""

    at: datetime
    status: Status | None
    rejected: tuple[Rejected, ...]
    damage: str


class Looking:
    """Looks at a deployment, one look at a time and not too often; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._view: View | None = None

    def view(self, here: Deployment, now: datetime) -> View:
        """A view that is not older than ``LOOK_AGAIN``."""
        with self._lock:
            if self._view is None or not timedelta() <= now - self._view.at < LOOK_AGAIN:
                self._view = _look(here, now)
            return self._view


@router.get("/status")
def show(request: Request) -> Response:
    """The state of the deployment."""
    here, now = deployment(request), utc_now()
    settings = here.settings
    looking = request.app.state.looking
    assert isinstance(looking, Looking)
    return page(
        request,
        "status.html",
        view=looking.view(here, now),
        failed=_failed(here),
        delivery_path=path_of,
        leads_to=_leads_to,
        oldest=oldest_kept_day(now, settings.raw_retention_days),
        kept=settings,
        dagster=settings.dagster_url.rstrip("/"),
        tables=TABLE_OF,
        metrics_table=METRICS_TABLE,
    )


def _leads_to(alert: Alert) -> str:
    """The place of the portal where something can be done about an alert; empty if there is none."""
    return _PLACES.get(alert.kind, "").format(alert.subject)


def _look(here: Deployment, now: datetime) -> View:
    rejected: tuple[Rejected, ...] = ()
    damage = ""
    try:
        try:
            rejected = _rejected(here)
        except DamagedData as error:
            damage = error.message
        return View(now, status(here.settings, here.store, here.ledger, now), rejected, damage)
    except (TransientError, InvalidSetting) as error:
        return View(now, None, (), error.message)
    except (OSError, BotoCoreError) as error:
        if (told := answer_to(error)) is None:
            raise
        return View(now, None, (), told.message)


def _rejected(here: Deployment) -> tuple[Rejected, ...]:
    reasons: dict[str, Counter[str]] = {}
    days: dict[str, list[date]] = {}
    for entry in list_quarantined(here.settings):
        reasons.setdefault(entry.target, Counter()).update(entry.reasons)
        days.setdefault(entry.target, []).append(entry.day)
    return tuple(
        Rejected(target, dict(counts.most_common()), min(days[target]), max(days[target]))
        for target, counts in sorted(reasons.items())
    )


def _failed(here: Deployment) -> list[tuple[Message, Attempt | None]]:
    """The last deliveries that failed for good, each with its last attempt."""
    found, _, _ = here.ledger.messages.list(limit=_MOST_FAILED, status=FAILED)
    attempts = here.ledger.messages.attempts(message.id for message in found)
    return [(message, next(reversed(attempts.get(message.id, ())), None)) for message in found]
