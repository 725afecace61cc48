"""Telling those who got an export that a person is erased from it (contract, section 5).

Owns who is told: whoever the export was delivered to, by webhook if the endpoint wants such messages.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from export_pipeline.errors import NotFound
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.jobs import COMPLETE, ON_DEMAND
from export_pipeline.ledger.messages import Receiver
from export_pipeline.ledger.posting import EXPORT_RESTATED, USER_ERASED, NewMessage

REASON = "erasure"


def tell(
    ledger: Ledger, pass_id: str, requests: Sequence[str], exports: Sequence[Mapping[str, Any]], now: datetime
) -> int:
    """Put messages into the outbox that tell of the exports a pass has rewritten; how many are new.

    Args:
        requests: the ids of the requests of the pass.
        exports: as ``restating.rewritten`` gives them.
    """
    new = []
    held = defaultdict[Receiver, list[dict[str, Any]]](list)
    for export in exports:
        job_id, version = str(export["exportId"]), int(export["version"])
        try:
            job = ledger.jobs.get(job_id, now)
        except NotFound:  # a daily export, which nobody is sent
            continue
        if job.state != COMPLETE:
            continue
        data = {
            "exportId": job_id,
            "dateRange": job.request["dateRange"],
            "version": version,
            "replaces": version - 1,
            "reason": REASON,
            "rowsAdded": 0,
            "rowsRemoved": export["rowsRemoved"],
        }
        for receiver in ledger.messages.receivers(job_id):
            wanted = _wanted(ledger, receiver, job.kind)
            if EXPORT_RESTATED in wanted:
                once = f"{pass_id}:{job_id}:{version}"
                new.append(_message(ledger, receiver, EXPORT_RESTATED, data, once, job_id))
            if USER_ERASED in wanted and export["rowsRemoved"]:
                held[receiver].append({"exportId": job_id, "version": version})
    for receiver, kept in held.items():
        data = {"requestIds": list(requests), "exports": kept, "removedIn": pass_id}
        new.append(_message(ledger, receiver, USER_ERASED, data, pass_id))
    return len(ledger.messages.send_all(new, now))


def _wanted(ledger: Ledger, receiver: Receiver, kind: str) -> Sequence[str]:
    """The events a receiver is sent about an export; one that a schedule delivers to gets all."""
    if receiver.webhook_id is None or kind != ON_DEMAND:
        return (EXPORT_RESTATED, USER_ERASED)
    return ledger.webhooks.get(receiver.webhook_id).events


def _message(
    ledger: Ledger,
    receiver: Receiver,
    event: str,
    data: Mapping[str, Any],
    about: str,
    job_id: str | None = None,
) -> NewMessage:
    """A message that is made once, however often the step is taken."""
    address = None if receiver.address is None else ledger.messages.sealed(receiver.address)
    to = receiver.webhook_id or ledger.messages.fingerprint(str(receiver.address))
    return NewMessage(event, data, receiver.webhook_id, address, job_id, f"{event}:{about}:{to}")
