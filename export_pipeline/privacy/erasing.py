"""The steps of an erasure, in order, and one pass through all of them (contract, section 6).

Each is safe to repeat, and takes nothing from the one before but what the ledger keeps: runs and commands
pass on the id of a request and no more. Owns what a failure means for the requests of a pass.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime

from export_pipeline.days import utc_now
from export_pipeline.errors import Conflict, ExportPipelineError, NotFound
from export_pipeline.exports.publishing import room
from export_pipeline.failures import ERASURE, may_pass, verdict
from export_pipeline.faults import reach
from export_pipeline.ledger import Erasure, Ledger
from export_pipeline.ledger.erasures import COMPLETE
from export_pipeline.outages import answering
from export_pipeline.privacy.erasing_store import erase_store
from export_pipeline.privacy.passes import LOCK
from export_pipeline.privacy.proving import certify, scan
from export_pipeline.privacy.purging import purge
from export_pipeline.privacy.restating import rewrite_exports
from export_pipeline.privacy.suppressing import Counts, resolve_people
from export_pipeline.privacy.suppressing import suppress as suppress_people
from export_pipeline.settings import Settings
from export_pipeline.store import Store

INTERRUPTED = "the erasure was interrupted each time it was tried; ask for it again"

Step = Callable[[Settings, Store, Ledger, str, datetime], Counts]

STEPS: Mapping[str, Step] = {
    "resolve": resolve_people,
    "suppress": suppress_people,
    "erase_store": erase_store,
    "rewrite_exports": rewrite_exports,
    "purge": purge,
    "scan": scan,
    "certify": certify,
}
"""The steps by name, in order; each gives its counts."""


def take_step(
    settings: Settings, store: Store, ledger: Ledger, request_id: str, name: str, now: datetime
) -> Counts:
    """Take one step for the pass of a request, while no other pass is worked on; its counts.

    Raises:
        as the step; one that is not worth another try has ended the requests of the pass as failed.
    """
    with ledger.lock(LOCK):
        return _take(settings, store, ledger, request_id, name, now)


def erase_now(
    settings: Settings,
    store: Store,
    ledger: Ledger,
    request: Callable[[], tuple[Erasure, ...]],
    *,
    clock: Callable[[], datetime] = utc_now,
    told: Callable[[int, int | None], None] | None = None,
) -> tuple[Erasure, ...]:
    """Make requests and work on them here, to their end; what they are then.

    Args:
        request: makes the requests; nobody else begins to work on them.
        told: how many steps are done, and how many there are.

    Raises:
        as the steps; the requests have failed then.
    """
    with ledger.lock(LOCK):
        made = request()
        while waiting := [each for each in made if ledger.erasures.get(each.id).state != COMPLETE]:
            for done, name in enumerate(STEPS):
                if told:
                    told(done, len(STEPS))
                try:
                    _take(settings, store, ledger, waiting[0].id, name, clock())
                except Exception as error:
                    give_up(ledger, waiting[0].id, error, clock())
                    raise
            if ledger.erasures.get(waiting[0].id).state != COMPLETE:
                raise ExportPipelineError(f"erasure {waiting[0].id} was not completed by its steps")
        return tuple(ledger.erasures.get(each.id) for each in made)


def _take(
    settings: Settings, store: Store, ledger: Ledger, request_id: str, name: str, now: datetime
) -> Counts:
    reach(settings, f"erasure.{name}")
    try:
        with answering(), room(settings.root):
            return STEPS[name](settings, store, ledger, request_id, now)
    except Exception as error:
        if not may_pass(error):
            give_up(ledger, request_id, error, now)
        raise


def give_up(ledger: Ledger, request_id: str, error: Exception, now: datetime) -> None:
    """End the requests of a pass as failed; a request that is complete stays so."""
    with suppress(NotFound, Conflict):
        request = ledger.erasures.get(request_id)
        ledger.erasures.fail(request.pass_id or request.id, *verdict(error, ERASURE), now)
