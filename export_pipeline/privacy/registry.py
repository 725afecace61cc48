"""Every place below the state root, and in the bucket, where something is stored, and how it is searched.

The one list of them: a file that no place here owns makes the scan fail, as does a place without a reader.
What is new below the root is added here. The names are those by which an erasure counts.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from export_pipeline.objects import AnyPath, local, reading
from export_pipeline.privacy import containers, sqlite
from export_pipeline.privacy.searching import Search, Unsearchable
from export_pipeline.store.store import NAMESPACE
from export_pipeline.store.tables import ALL_TABLES

Reader = Callable[[AnyPath, Search], None]


@dataclass(frozen=True)
class Place:
    """A place: its name, the files it owns (an expression over the whole path below the root), its reader.

    ``unfinished``: others write files there at any time, so that one may end early, or be gone soon.
    ``arrivals``: files come there from outside, and are judged only when they are taken. ``here``: it is on
    this machine only, never in a bucket.
    """

    name: str
    files: str
    reader: Reader | None
    unfinished: bool = False
    arrivals: bool = False
    here: bool = False

    def owns(self, path: str) -> bool:
        """Whether the file at ``path``, relative to the root with ``/``, is its."""
        return re.fullmatch(self.files, path, re.DOTALL) is not None


def _decoded(path: AnyPath, search: Search) -> None:
    with reading(path) as file:
        containers.read(file, path.name, search)


def _landed(path: AnyPath, search: Search) -> None:
    # What is cut off there is what somebody is still writing, or what ingest takes the whole lines of.
    with reading(path) as file:
        containers.read(file, path.name, search, cut_off=True)


def _spilled(path: AnyPath, _search: Search) -> None:
    path.stat()
    raise Unsearchable("it holds rows that DuckDB has spilled, as it alone can read them, and is in use")


def _plain(path: AnyPath, search: Search) -> None:
    with reading(path) as file:
        search.text(file.read)


def _database(path: AnyPath, search: Search) -> None:
    sqlite.search_database(local(path), search)


def _dagster(path: AnyPath, search: Search) -> None:
    if _DATABASE.search(path.name):
        sqlite.search_database(local(path), search)
    else:
        _decoded(path, search)


_DATABASE = re.compile(r"\.db\Z")
_COMPANION = "(?:" + "|".join(map(re.escape, sqlite.COMPANIONS)) + ")"
_TEMPORARY = r"\.[^/]+\.tmp"
"""How names of files end that are being written, see ``files.write_atomically``."""

PLACES: Sequence[Place] = (
    *(
        Place(
            table,
            rf"store/{NAMESPACE}/{table}/(?:data/(?:[^/]+/)*[^/]+\.parquet|metadata/[^/]+\.(?:avro|json))",
            _decoded,
            unfinished=True,
        )
        for table in ALL_TABLES
    ),
    Place("landing", r"landing/.+", _landed, unfinished=True, arrivals=True),
    Place("quarantine", rf"quarantine/(?:[^/]+/)+(?:[^/]+\.parquet|{_TEMPORARY})", _decoded, unfinished=True),
    Place(
        "exports",
        rf"exports/(?:[^/]+/)+(?:manifest\.json|schema\.json|dictionary\.md|part-\d+\.(?:jsonl|csv)(?:\.gz)?"
        rf"|[^/]+\.zip|{_TEMPORARY})",
        _decoded,
        unfinished=True,
    ),
    Place(
        "certificates",
        rf"certificates/(?:[^/]+\.jsonl?|[^/]+\.removed/\d+\.jsonl|{_TEMPORARY})",
        _decoded,
    ),
    Place("probes", r"\.probe-[0-9a-f]{32}", _decoded, unfinished=True),
    Place("secrets", rf"secrets/(?:[^/]+\.(?:key|pem|pub)|{_TEMPORARY})", _plain, here=True),
    Place("ledger", rf"ledger\.db{_COMPANION}?", _database, here=True),
    Place("catalog", rf"catalog\.db{_COMPANION}?", _database, here=True),
    Place("dagster", r"dagster/.+", _dagster, unfinished=True, here=True),
    Place("output of runs", r"dagster/storage/.+", _decoded, unfinished=True),
    Place("logs", r"logs/[^/]+\.log", _decoded),
    Place("windows", r"exports/\.making/.+", _landed, unfinished=True),
    Place("spilled rows", r"tmp/(?:.+/)?duckdb_temp_[^/]+", _spilled, unfinished=True, here=True),
    Place("scratch", r"tmp/.+", _landed, unfinished=True, here=True),
)


def owner(path: str, places: Sequence[Place] = PLACES, *, in_bucket: bool = False) -> Place | None:
    """The place that owns the file at ``path``, relative to the root; None if nobody accounts for it."""
    return next((place for place in places if place.owns(path) and not (in_bucket and place.here)), None)


def belongs_to_database(path: str) -> bool:
    """Whether the file is searched with the database it belongs to."""
    return re.search(rf"\.db{_COMPANION}\Z", path) is not None
