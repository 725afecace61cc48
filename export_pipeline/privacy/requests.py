"""Requests to erase people: how they are made, what is told of them, and what they would do."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from export_pipeline import ids
from export_pipeline.errors import InvalidRequest
from export_pipeline.exports.manifest import instant_text
from export_pipeline.ledger import Erasure, Ledger
from export_pipeline.ledger.erasures import FAILED
from export_pipeline.privacy.erasing_store import erased
from export_pipeline.privacy.identity import checked_user_id
from export_pipeline.privacy.purging import PURGE
from export_pipeline.privacy.restating import rewritten

MOST_AT_ONCE = 1000
"""People that one call may name."""


def checked_people(user_ids: object) -> list[str]:
    """``user_ids`` as the people that one call names, each once, in the order given.

    Raises:
        InvalidRequest: naming ``userIds``, never a value.
    """
    if not isinstance(user_ids, list | tuple) or not 1 <= len(user_ids) <= MOST_AT_ONCE:
        raise InvalidRequest(f"userIds must be a list of 1 to {MOST_AT_ONCE} user ids", field="userIds")
    return list(dict.fromkeys(checked_user_id(each, "userIds") for each in user_ids))


def ids_from(first: str, count: int) -> list[str]:
    """The ids of the requests of one call, beginning with ``first``; the same when it is made again."""
    more = (hashlib.sha256(f"{first}:{number}".encode()).hexdigest() for number in range(1, count))
    return [first, *map(ids.ERASURE.of, more)]


def request_erasures(
    ledger: Ledger,
    user_ids: Iterable[object],
    *,
    now: datetime,
    created_by: str,
    request_ids: Sequence[str] | None = None,
) -> tuple[Erasure, ...]:
    """Queue the erasure of each person once, in the order given; nothing is read.

    Args:
        created_by: the id of a key, or ``command``.
        request_ids: their ids, at least as many as people; what was made under one before is not again.

    Raises:
        InvalidRequest: naming ``userIds``, if one is none.
    """
    people = list(dict.fromkeys(checked_user_id(each, "userIds") for each in user_ids))
    ids = request_ids and request_ids[: len(people)]
    return ledger.erasures.create(people, created_by, now, ids)


def shown(ledger: Ledger, request: Erasure) -> dict[str, Any]:
    """What is told of a request: its state, its deadline, and the counts by store as far as it got.

    ``rowsRemoved`` counts the person's own rows, those in exports, archives and the quarantine all that
    went in the pass; so does what is replaced.
    """
    document: dict[str, Any] = {
        "requestId": request.id,
        "status": request.state,
        "createdAt": instant_text(request.created_at),
        "dueAt": instant_text(request.due_at),
        "rowsRemoved": rows_removed(ledger, request),
        "idsReplaced": ids_replaced(ledger, request),
    }
    if request.ended_at is not None:
        document["endedAt"] = instant_text(request.ended_at)
    if request.state == FAILED:
        document["error"] = {"code": request.error_code, "message": request.error_message}
    return document


def rows_removed(ledger: Ledger, request: Erasure) -> dict[str, int]:
    """The rows removed for a request, by store; of exports and what is beside, those of its pass.

    What requests for the same person had removed before they failed is counted with it.
    """
    removed = Counter[str]()
    for each in (*ledger.erasures.gone_on_with(request), request):
        if each.pass_id is not None:
            for table, what in erased(ledger, each.pass_id).items():
                removed[table] += what.removed.get(each.id, 0)
            steps = ledger.erasure_steps.all(each.pass_id)
            if PURGE in steps:
                removed["exports"] += sum(done["rowsRemoved"] for done in rewritten(ledger, each.pass_id))
                removed["accessExports"] += steps[PURGE]["accessExports"]
                removed["quarantine"] += steps[PURGE]["quarantine"]
    return dict(removed)


def ids_replaced(ledger: Ledger, request: Erasure) -> dict[str, int]:
    """The ids taken out of the rows of others, by store, counted as ``rows_removed`` counts."""
    replaced = Counter[str]()
    for each in (*ledger.erasures.gone_on_with(request), request):
        if each.pass_id is not None:
            for table, what in erased(ledger, each.pass_id).items():
                replaced[table] += what.replaced
            steps = ledger.erasure_steps.all(each.pass_id)
            if PURGE in steps:
                replaced["exports"] += sum(done["idsReplaced"] for done in rewritten(ledger, each.pass_id))
                replaced["ledger"] += steps[PURGE]["ledger"]
    return {store: ids for store, ids in replaced.items() if ids}
