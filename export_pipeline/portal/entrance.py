"""The address at which people get into the portal, for who starts the server."""

from datetime import datetime

from export_pipeline.days import utc_now
from export_pipeline.ledger import Ledger
from export_pipeline.portal.pages import PREFIX
from export_pipeline.portal.passwords import is_made
from export_pipeline.settings import Settings


def entrance(settings: Settings, url: str) -> str:
    """The portal's address on the server at ``url``; where no password is set it logs in who is first."""
    if is_made(settings):
        return link(Ledger(settings), url, utc_now())
    return f"{url}{PREFIX}/"


def link(ledger: Ledger, url: str, now: datetime) -> str:
    """An address that logs in whoever opens it first, within ``LINK_LIFETIME``."""
    return f"{url.rstrip('/')}{PREFIX}/enter?token={ledger.sessions.new_link(now)}"
