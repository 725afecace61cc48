"""Noting in the ledger what somebody did in the portal."""

from fastapi import Request

from export_pipeline.api.deployment import deployment
from export_pipeline.api.envelopes import request_id
from export_pipeline.days import utc_now
from export_pipeline.ledger.audit import Entry
from export_pipeline.portal import guards


def note(request: Request, action: str, subject: str = "", who: str = "", how: str = "") -> None:
    """Note what the visitor of a request has done.

    Args:
        action: what, as the end of a sentence that begins with who, such as ``asked for an export``.
        subject: the id of the job or request it was done to; never of a person.
        who, how: if nobody is logged in.
    """
    known = guards.current(request)
    session = known.session if known else None
    deployment(request).ledger.audit.note(
        Entry(
            at=utc_now(),
            who=session.who if session else who,
            how=session.how if session else how,
            address=address(request),
            action=action,
            subject=subject,
            request_id=request_id(request),
        )
    )


def address(request: Request) -> str:
    """Where a request comes from, as far as the proxies that are trusted say so."""
    return request.client.host if request.client else ""
