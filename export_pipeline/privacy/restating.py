"""The step of an erasure that changes published exports: what holds anything of the people is made again.

Owns which data version a rewritten day stands for, and the list of what was rewritten: it is with the
request, and the ids of the events that went are in a file beside its certificate.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from upath import UPath

from export_pipeline import ids
from export_pipeline.errors import Gone
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.exports.editing import Edit
from export_pipeline.exports.manifest import DayEntry
from export_pipeline.exports.rewriting import DataVersion, Rewritten, rewrite_all
from export_pipeline.faults import reach
from export_pipeline.growing import extend, pieces
from export_pipeline.ledger import Ledger
from export_pipeline.outages import answering
from export_pipeline.pieces import Assembled
from export_pipeline.privacy.erasing_store import step_of
from export_pipeline.privacy.matching import Needles
from export_pipeline.privacy.passes import Pass, under_way
from export_pipeline.privacy.suppressing import Counts
from export_pipeline.privacy.telling import tell
from export_pipeline.settings import Settings
from export_pipeline.store import Store

EXPORTS = "exports"
"""The step under which the ledger keeps which exports were rewritten."""


def rewrite_exports(
    settings: Settings, store: Store, ledger: Ledger, request_id: str, now: datetime
) -> Counts:
    """Make every published export again that holds anything of the people of a request's pass.

    Raises:
        Conflict: if the store was not erased, or the request is complete.
        DamagedData: if an export is not as it was published.
        StorageFull: if there is no room.
    """
    erasing = under_way(ledger, request_id, now)
    for done in rewrite_all(settings, ledger, edit_of(erasing), _data_versions(ledger, erasing.id), now=now):
        before, entry = rewritten(ledger, erasing.id), dict(_listed(done))
        if entry in before:
            continue  # told again, as an attempt ended before it removed what was replaced
        step = ledger.erasure_steps.get(erasing.id, EXPORTS) or {}
        size = _keep_removed(settings, erasing.id, done, step.get("removedBytes", 0))
        reach(settings, "erasure.listed")
        # What an attempt that died had made is told again.
        listed = [export for export in step.get("rewritten", ()) if export["path"] != done.path]
        listed.append(_listed(done))
        ledger.erasure_steps.note(erasing.id, EXPORTS, {"rewritten": listed, "removedBytes": size}, now)
        reach(settings, "erasure.restated")
    found = rewritten(ledger, erasing.id)
    tell(ledger, erasing.id, [request.id for request in erasing.requests], found, now)
    return {
        "exports": len(found),
        "rows": sum(export["rowsRemoved"] for export in found),
        "idsReplaced": sum(export["idsReplaced"] for export in found),
    }


def edit_of(erasing: Pass) -> Edit:
    """What a pass takes out of exports."""
    return Edit(erasing.holders.keys(), Needles(erasing.ids | erasing.holders.keys()), erasing.needles)


def rewritten(ledger: Ledger, pass_id: str) -> list[dict[str, Any]]:
    """The exports a pass has rewritten so far: ``exportId``, ``version``, ``path`` below the exports' root,
    ``rowsRemoved``, ``idsReplaced`` and ``files`` with their ``name`` and ``sha256``.
    """
    return list((ledger.erasure_steps.get(pass_id, EXPORTS) or {}).get("rewritten", ()))


def removed_file(settings: Settings, pass_id: str) -> UPath:
    """The ids of the events that a pass took out of exports: a JSON object a line, an export and data type
    each."""
    return settings.certificates / f"{pass_id}.removed.jsonl"


def removed_events(settings: Settings, pass_id: str) -> Assembled:
    """The same file as it is sent.

    Raises:
        Gone: if it is not there, or no more.
    """
    path, digest = removed_file(settings, pass_id), hashlib.sha256()
    try:
        if not ids.ERASURE.fits(pass_id):
            raise FileNotFoundError
        with answering():
            held = pieces(path)
            for piece in held:
                for block in piece.read(0, piece.length):
                    digest.update(block)
    except FileNotFoundError:
        raise Gone("the list of removed events is not kept any more") from None
    return Assembled(path.name, "application/x-ndjson", digest.hexdigest(), held)


def _data_versions(ledger: Ledger, pass_id: str) -> DataVersion:
    changed = {
        name: ledger.erasure_steps.changed_days(pass_id, step_of(kind.table))
        for name, kind in DATA_TYPES.items()
    }

    def version(day: DayEntry) -> int:
        change = changed[day.data_type].get(day.date)
        # An export that was out of date already stays so.
        return change.after if change and day.data_version == change.before else day.data_version

    return version


def _listed(done: Rewritten) -> Mapping[str, Any]:
    manifest = done.manifest
    return {
        "exportId": manifest.export_id,
        "kind": manifest.kind,
        "version": manifest.version,
        "path": done.path,
        "rowsRemoved": sum(map(len, done.removed.values())),
        "idsReplaced": done.replaced,
        "files": [{"name": file.name, "sha256": file.sha256} for file in manifest.files],
    }


def _keep_removed(settings: Settings, pass_id: str, done: Rewritten, noted: int) -> int:
    """Add the ids of the events that went to the first ``noted`` bytes of the file; its size then."""
    path = removed_file(settings, pass_id)
    lines = [
        json.dumps(
            {
                "exportId": done.manifest.export_id,
                "version": done.manifest.version,
                "dataType": data_type,
                "eventIds": event_ids,
            },
            ensure_ascii=False,
        ).encode()
        + b"\n"
        for data_type, event_ids in done.removed.items()
        if event_ids
    ]
    return extend(path, noted, b"".join(lines))
