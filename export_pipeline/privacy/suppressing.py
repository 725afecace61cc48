"""The first two steps of an erasure: who the people are, and that nothing of them comes in any more.

What waits in the landing directory is taken in once they are suppressed, so that from then on the store,
the quarantine and the exports hold all there is of them.
"""

from collections.abc import Mapping
from contextlib import suppress as unless
from datetime import datetime

from export_pipeline.errors import Conflict, DamagedData
from export_pipeline.faults import reach
from export_pipeline.ingest import ingest_landing
from export_pipeline.ingest.batches import LOCK
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.erasures import Subject
from export_pipeline.ledger.suppressions import key_hash
from export_pipeline.privacy.identity import resolve
from export_pipeline.privacy.passes import Pass, under_way
from export_pipeline.settings import Settings
from export_pipeline.store import Store

SUPPRESS = "suppress"
CODE = "SUBJECT_ERASED"
MESSAGE = "a person the request names was erased; ask again without them"

Counts = Mapping[str, int]
"""What a step did, as a run shows it."""


def resolve_people(
    settings: Settings, store: Store, ledger: Ledger, request_id: str, now: datetime
) -> Counts:
    """Begin an attempt at a request's pass and find out, and keep, which ids its people have.

    What was found out before stays: the links that told it may be erased by now.

    Raises:
        Conflict: if the request is complete.
        NotFound: if there is no such request.
    """
    requests = ledger.erasures.begin(request_id, now)
    user_ids = [ledger.erasures.subject(request.id).user_id for request in requests]
    people = resolve(settings, store, user_ids)
    for request, person in zip(requests, people, strict=True):
        known = ledger.erasures.unfinished(request.subject)
        contested = person.contested.union(*(subject.contested or () for subject in known))
        own = person.own.union(*(subject.own or () for subject in known)) - contested
        kept = Subject(person.user_id, tuple(sorted(own)), tuple(sorted(contested)))
        ledger.erasures.keep_subject(request.id, kept)
    reach(settings, "erasure.resolved")
    found = under_way(ledger, request_id, now)
    return {
        "requests": len(found.requests),
        "ids": len(found.ids),
        "contestedIds": len(frozenset[str]().union(*(person.contested for person in found.persons))),
    }


def suppress(settings: Settings, store: Store, ledger: Ledger, request_id: str, now: datetime) -> Counts:
    """Refuse what happened to these people up to ``now``, end exports that name them, take in what waits.

    Landing files that cannot be read stay where they are: the scan judges them.

    Raises:
        Conflict: if the request was not resolved, or is complete.
    """
    erasing = under_way(ledger, request_id, now)
    erased_at = ledger.erasures.date_from(erasing.id, now)
    # A batch that began before ends before; every later one refuses these people.
    with ledger.lock(LOCK):
        hashes = (key_hash(settings, id_) for id_ in sorted(erasing.holders))
        ledger.suppress_all(hashes, erased_at)
    reach(settings, "erasure.suppressed")
    failed = _fail_jobs(ledger, erasing, now)
    taken = 0
    with unless(DamagedData):
        report = ingest_landing(settings, store, ledger)
        taken = sum(counts.suppressed for counts in report.counts.values())
    with ledger.lock(LOCK):
        last = ledger.last_batches(1)
    ledger.erasures.reach_to(erasing.id, last[0].sequence if last else 0)
    reach(settings, "erasure.reached")
    earlier = ledger.erasure_steps.get(erasing.id, SUPPRESS) or {}
    counts = {"exportsFailed": failed, "landingLinesSuppressed": taken}
    counts = {name: count + earlier.get(name, 0) for name, count in counts.items()}
    ledger.erasure_steps.note(erasing.id, SUPPRESS, counts, now)
    return counts


def _fail_jobs(ledger: Ledger, erasing: Pass, now: datetime) -> int:
    # Schedules first: from then on none of them queues a job that names these people.
    ledger.schedules.disable_naming(erasing.holders.keys())
    failed = 0
    for job in ledger.jobs.open(now):
        if not erasing.holders.keys().isdisjoint(ledger.jobs.user_ids(job.id)):
            with unless(Conflict):
                ledger.jobs.fail(job.id, CODE, MESSAGE, now)
                failed += 1
    return failed
