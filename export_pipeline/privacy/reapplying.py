"""Erasing again whom a restore brought back: who is in the store though a certificate says they were erased.

Certificates know people by keyed hashes only, so every id in the store is hashed and looked up.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from upath import UPath

from export_pipeline import secrets
from export_pipeline.events.catalogue import DATA_TYPES, USER_TABLES
from export_pipeline.ingest.batches import LOCK
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.suppressions import KEY as HASH_KEY
from export_pipeline.privacy import certificates
from export_pipeline.privacy.reading import connection, planned_again
from export_pipeline.settings import Settings
from export_pipeline.sql import parquet
from export_pipeline.store import Store

_SCHEMA = pa.schema([("hash", pa.string()), ("erased_at", pa.timestamp("us", "UTC"))])


@dataclass(frozen=True)
class Proofs:
    """What certificates say: for each keyed hash up to when its person was erased, and what cannot be used.

    ``read`` counts the certificates that were issued here; a problem begins with the name of its file.
    """

    erased: Mapping[str, datetime]
    read: int
    problems: tuple[str, ...]


def proofs(settings: Settings, kept: Path | None = None) -> Proofs:
    """All certificates of the deployment, and those in the folder ``kept``.

    Raises:
        Conflict: if the deployment has no key that certificates are signed with, so that none can be trusted.
    """
    places = [settings.certificates, *([UPath(kept)] if kept else [])]
    files = [path for place in places if place.exists() for path in sorted(place.glob("*.json"))]
    if not files:
        return Proofs({}, 0, ())
    trusted = certificates.deployment_key(settings)
    erased: dict[str, datetime] = {}
    problems, read = [], 0
    for path in files:
        content = path.read_bytes()
        if found := certificates.problems(content, trusted):
            problems.append(f"{path.name}: {found[0]}")
            continue
        read += 1
        document = json.loads(content)
        at = datetime.fromisoformat(document["erasedAt"]).astimezone(UTC)
        erased[document["subject"]] = max(at, erased.get(document["subject"], at))
    return Proofs(erased, read, tuple(problems))


def suppress_again(ledger: Ledger, erased: Mapping[str, datetime]) -> int:
    """Refuse again what happened to these people before they were erased; for how many that was forgotten."""
    with ledger.lock(LOCK):
        known = ledger.suppressions()
        held = dict(zip(known["key_hash"].to_pylist(), known["erased_at"].to_pylist(), strict=True))
        forgotten = defaultdict[datetime, list[str]](list)
        for key_hash, at in erased.items():
            if key_hash not in held or held[key_hash] < at:
                forgotten[at].append(key_hash)
        for at, hashes in forgotten.items():
            ledger.suppress_all(hashes, at)
    return sum(map(len, forgotten.values()))


def restored(settings: Settings, store: Store, erased: Mapping[str, datetime]) -> tuple[str, ...]:
    """The ids in the store of which there is something from before their erasure, in a fixed order.

    An id that is used again has only what came after it.

    Raises:
        DamagedData: if a store file cannot be read.
        StorageFull: if there is no room for what does not fit into memory.
    """
    if not erased:
        return ()
    wanted = pa.table([list(erased), list(erased.values())], schema=_SCHEMA)
    key = secrets.key(settings, HASH_KEY).hex()

    def read() -> tuple[str, ...]:
        held = [
            f"select {column} as id, min({instant}) as since from {parquet(files)} group by all"
            for table, column, instant in _columns()
            if (files := store.files(table))
        ]
        if not held:
            return ()
        with connection(settings) as reading:
            reading.register("proofs", wanted)
            found = reading.execute(
                f"""
                with held as materialized ({" union all ".join(held)})
                select distinct id from held join proofs on hash = sha256(concat($key::varchar, id))
                where since <= erased_at order by id""",
                {"key": key},
            ).fetchall()
        return tuple(id_ for (id_,) in found)

    return planned_again(read)


def _columns() -> list[tuple[str, str, str]]:
    """Each table with a column of ids and the instant that an erasure is held against."""
    events = [(kind.table, "userId", "timestamp") for kind in DATA_TYPES.values()]
    users = [(table.name, "userId", table.newest_by) for table in USER_TABLES.values()]
    links = [(t, "deviceId", at) for t, _, at in users if t == USER_TABLES["devices"].name]
    return events + users + links
