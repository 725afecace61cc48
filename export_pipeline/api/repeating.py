"""Requests that may be made again: one outcome for each Idempotency-Key (contract, section 4)."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from export_pipeline.api.deployment import deployment
from export_pipeline.api.envelopes import answer
from export_pipeline.days import utc_now
from export_pipeline.faults import reach
from export_pipeline.ledger.keys import Key

REPLAYED = "Idempotency-Replayed"


def once(
    request: Request,
    key: Key,
    idempotency_key: str | None,
    result_id: str,
    make: Callable[[str], tuple[int, Any]],
    *,
    kept: Callable[[Any], Any] = lambda data: data,
    alone: bool = True,
) -> Response:
    """Carry a request out, or answer it as it was answered before.

    Args:
        idempotency_key: the header's value; without one the request is simply carried out.
        result_id: the id of what it would make.
        make: carries it out under the id given, which is that of an earlier try if there was one; gives
            the status and the data of the answer.
        kept: what of the data is kept for the next time; a secret is not.
        alone: whether one request is carried out at a time. Without it ``make`` may take long, and has to
            see to it by the id that two at once make one thing.

    Raises:
        Conflict: if the key came with another body, or for another path, in the last 24 hours.
    """
    if idempotency_key is None:
        status, data = make(result_id)
        return answer(request, data, status)
    ledger = deployment(request).ledger
    route = f"{request.method} {request.scope['route'].path}"
    asked = request.url.path.encode() + b"\n" + request.state.body
    # One at a time, so that of two that come together the second finds the first one's answer.
    with ledger.lock("repeatable") if alone else nullcontext():
        reserved = ledger.answers.reserve(key.id, route, idempotency_key, asked, result_id, utc_now())
        if reserved.status is not None:
            return answer(request, reserved.data, reserved.status, {REPLAYED: "true"})
        try:
            status, data = make(reserved.result_id)
        except Exception:
            ledger.answers.release(reserved)
            raise
        reach(deployment(request).settings, "request.made")
        ledger.answers.keep(reserved, status, kept(data))
    return answer(request, data, status)
