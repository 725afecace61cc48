"""The last two steps of an erasure: searching for what may be left, and the certificate that nothing is.

Owns what a certificate says. There is none while a match is left or anything was not searched.
"""

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from export_pipeline import buckets
from export_pipeline.errors import NotProven, TransientError
from export_pipeline.exports.manifest import instant_text
from export_pipeline.faults import reach
from export_pipeline.ledger import Erasure, Ledger
from export_pipeline.ledger.suppressions import key_hash
from export_pipeline.objects import is_remote
from export_pipeline.outages import answering
from export_pipeline.privacy import certificates
from export_pipeline.privacy.erasing_store import quiet
from export_pipeline.privacy.identity import Person
from export_pipeline.privacy.passes import Pass, under_way
from export_pipeline.privacy.requests import ids_replaced, rows_removed
from export_pipeline.privacy.restating import rewritten
from export_pipeline.privacy.scanning import Report, scan_root
from export_pipeline.privacy.searching import Erased
from export_pipeline.privacy.suppressing import Counts
from export_pipeline.settings import Settings
from export_pipeline.store import Store

SCAN = "scan"
"""The step under which the ledger keeps what a scan came upon."""

FORMS = ("plain", "JSON-escaped", "URL-encoded", "HTML-escaped", "CSV-quoted", "nested in each other")

LIMITS = (
    "Copies that were downloaded or delivered before are not reached.",
    "Files exported to places outside the state root are not reached.",
    "Backups are not reached.",
    "Pages of a database shared with others (PostgreSQL) are not searched.",
    "A match is a whole value or token: not next to a letter, digit, `_` or `-`.",
    "Ids of fewer than 6 characters are searched as whole fields only.",
    "Ids that are words of the catalogue are searched only where a person is named.",
    "Digits that are part of a decimal number are no match.",
    "Events that happened after the erasure are kept; they are counted as later use.",
    "Rows of exports, access exports and quarantine, ids replaced and files are those of the whole pass.",
)
"""What a certificate does not say."""

BUCKET_LIMITS = (
    "Other prefixes and copies of the bucket are not searched.",
    "Uploads to the landing prefix that are not finished are not searched; ingest judges what they bring.",
    "Space of removed objects that the object store itself has not reclaimed yet is not searched.",
    "State roots of other machines that work on the same bucket are not searched.",
    "Disks of a cluster's workers, to which they may spill rows while they work, are not searched.",
)
"""What else it does not say if data is kept in a bucket."""

_SHOWN = 5


def scan(settings: Settings, store: Store, ledger: Ledger, request_id: str, now: datetime) -> Counts:
    """Search everything below the state root for the ids of a request's pass; no batch is taken meanwhile.

    Raises:
        Conflict: if the pass was not suppressed, or the request is complete.
        NotProven: if a match is left, or something could not be searched, saying where and why; also if the
            bucket that data is in keeps what is removed from it.
        TransientError: if all that could not be searched is being written by somebody.
    """
    erasing = under_way(ledger, request_id, now)
    _insist_on_removal(settings)
    began = time.monotonic()
    with quiet(settings, store, ledger, now):
        report = scan_root(settings, Erased(erasing.needles, erasing.erased_at, erasing.watermark))
    ended = now + timedelta(seconds=time.monotonic() - began)
    ledger.erasure_steps.note(erasing.id, SCAN, _noted(report, now, ended), ended)
    _insist(report)
    reach(settings, "erasure.scanned")
    return {"filesSearched": report.total.files, "bytesSearched": report.total.bytes, "matchesLeft": 0}


def _insist_on_removal(settings: Settings) -> None:
    if is_remote(settings.data):
        with answering():
            reasons = buckets.keeps_removed(settings.data)
        if reasons:
            raise NotProven(
                f"what was removed from the bucket is not gone: {'; '.join(reasons)}. Change that, remove "
                "what it keeps, and ask for the erasure again"
            )


def _limits(settings: Settings) -> list[str]:
    """What a certificate does not say, of this deployment."""
    if not is_remote(settings.data):
        return list(LIMITS)
    unknown = buckets.unanswered(settings.data)
    told = [f"The object store does not tell of the bucket's {', '.join(unknown)}."] if unknown else []
    return [*LIMITS, *BUCKET_LIMITS, *told]


def _noted(report: Report, began: datetime, ended: datetime) -> dict[str, Any]:
    return {
        "startedAt": instant_text(began),
        "endedAt": instant_text(ended),
        "places": {
            name: {
                "files": found.files,
                "bytes": found.bytes,
                "matchesLeft": found.matches,
                "laterUse": found.later,
            }
            for name, found in report.places.items()
        },
        "problems": list(report.problems[:_SHOWN]),
        "clean": not report.problems and not report.total.matches,
    }


def _insist(report: Report) -> None:
    if report.problems:
        shown = "; ".join(report.problems[:_SHOWN])
        more = f" and {len(report.problems) - _SHOWN} more" if len(report.problems) > _SHOWN else ""
        wrong = f"not everything was searched: {shown}{more}"
        raise TransientError(wrong) if report.passing else NotProven(wrong)
    if report.total.matches:
        places = ", ".join(
            f"{found.matches} in {name}" for name, found in report.places.items() if found.matches
        )
        raise NotProven(f"ids of erased people are left: {places}")


def certify(settings: Settings, store: Store, ledger: Ledger, request_id: str, now: datetime) -> Counts:
    """Write the certificate of each request of a pass and end it as complete.

    Raises:
        Conflict: if the pass was not suppressed, or the request is complete.
        NotProven: if the last scan was not clean.
    """
    erasing = under_way(ledger, request_id, now)
    found = ledger.erasure_steps.get(erasing.id, SCAN)
    if found is None or not found["clean"]:
        raise NotProven("there is no scan that found everything clean; the erasure has to be scanned first")
    people = sorted(
        zip(erasing.requests, erasing.persons, strict=True), key=lambda pair: pair[0].id == request_id
    )
    for request, person in people:
        document = _document(settings, ledger, erasing, request, person, found, now)
        path = certificates.issue(settings, request.id, document)
        reach(settings, "erasure.certified")
        ledger.erasures.complete(request.id, path.relative_to(settings.data).as_posix(), now)
    return {"certificates": len(people)}


def _document(
    settings: Settings,
    ledger: Ledger,
    erasing: Pass,
    request: Erasure,
    person: Person,
    found: Mapping[str, Any],
    now: datetime,
) -> dict[str, Any]:
    places = found["places"].values()
    return {
        "certificateVersion": 1,
        "requestId": request.id,
        "subject": request.subject,
        "requestedAt": instant_text(request.created_at),
        "dueAt": instant_text(request.due_at),
        "erasedAt": instant_text(erasing.erased_at),
        "issuedAt": instant_text(now),
        "pass": {"id": erasing.id, "requests": len(erasing.requests)},
        "rowsRemoved": dict(rows_removed(ledger, request)),
        "idsReplaced": dict(ids_replaced(ledger, request)),
        "filesRewritten": [
            {"name": f"{export['path']}/{file['name']}", "sha256": file["sha256"]}
            for export in rewritten(ledger, erasing.id)
            for file in export["files"]
        ],
        "searched": {
            "startedAt": found["startedAt"],
            "endedAt": found["endedAt"],
            "forms": list(FORMS),
            "places": found["places"],
        },
        "filesSearched": sum(place["files"] for place in places),
        "bytesSearched": sum(place["bytes"] for place in places),
        "matchesLeft": sum(place["matchesLeft"] for place in places),
        "laterUse": sum(place["laterUse"] for place in places),
        "exceptions": {"contested": sorted(key_hash(settings, id_) for id_ in person.contested)},
        "limits": _limits(settings),
    }
