"""Searching everything below the state root, in databases, and below the prefix of the bucket that data is
kept in, for ids that must be gone, and failing where that cannot be done.

What others do meanwhile: a file that vanished is looked for again among those that came since; one that is
being written is waited for. Files that came into the landing directory after the erasure are searched, but
ingest judges them: matches in them are a later use. So it does what others are uploading there.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sqlalchemy.exc import OperationalError

from export_pipeline.databases import postgres
from export_pipeline.objects import is_remote
from export_pipeline.outages import answering
from export_pipeline.privacy.postgres import search_databases
from export_pipeline.privacy.registry import PLACES, Place, belongs_to_database, owner
from export_pipeline.privacy.searching import Erased, Found, Search, Unsearchable
from export_pipeline.privacy.walking import Entry, walk, walk_objects
from export_pipeline.ranges import Changed
from export_pipeline.settings import Settings

NAMES = "names"
"""Under which the names of files and folders are counted."""

PATIENCE_SECONDS = 60.0
"""How long a file that somebody writes is waited for, until it can be read or is gone."""

_PAUSE_SECONDS = 0.5
_FRESH_SECONDS = 600
_SKEW_SECONDS = 60
"""By how much the clocks of this machine and of the object store may differ."""
_MOST_ROUNDS = 200


@dataclass(frozen=True)
class Report:
    """What a scan came upon, by place, and all that kept it from being complete.

    ``passing``: all problems are such as end by themselves, as files that somebody still writes.
    """

    places: Mapping[str, Found]
    problems: tuple[str, ...]
    passing: bool = False

    @property
    def total(self) -> Found:
        """All places together."""
        return sum(self.places.values(), Found())


def scan_root(settings: Settings, erased: Erased, places: Sequence[Place] = PLACES) -> Report:
    """Search everything below the state root and in the bucket, with ``settings.workers`` threads, a few
    windows in each, and the databases that are not there."""
    scan = _Scan(settings, erased, places)
    with ThreadPoolExecutor(settings.workers) as threads:
        scan.run(threads)
    if postgres.is_used(settings):
        scan.run_databases(settings)
    problems = tuple(sorted(scan.problems))
    return Report(dict(sorted(scan.found.items())), problems, passing=len(problems) == scan.passing > 0)


@dataclass(frozen=True)
class _Outcome:
    """Neither ``found`` nor ``problem``: the file is gone. ``lasting``: waiting does not solve it."""

    found: Found | None = None
    problem: str | None = None
    lasting: bool = False


class _Scan:
    def __init__(self, settings: Settings, erased: Erased, places: Sequence[Place]) -> None:
        self._root = settings.root
        self._data = settings.data
        self._erased = erased
        self._places = places
        self._done: set[tuple[bool, str]] = set()
        self._named: set[tuple[bool, str]] = set()
        self.found: dict[str, Found] = {}
        self.problems: list[str] = []
        self.passing = 0

    def run(self, threads: ThreadPoolExecutor) -> None:
        """Search all there is, and what came since as long as something went or is being written."""
        until = time.monotonic() + PATIENCE_SECONDS
        for _ in range(_MOST_ROUNDS):
            patient = time.monotonic() < until
            files = sorted(self._listed(), key=lambda file: -file.size)
            outcomes = zip(files, threads.map(self._search, files), strict=True)
            settled = [self._settled(file, outcome, patient) for file, outcome in outcomes]
            if all(settled):
                return
            time.sleep(_PAUSE_SECONDS)
        self.passing += 1
        self._problem("", "files came and went all the time, so that some were never searched")

    def run_databases(self, settings: Settings) -> None:
        """Search the databases that are in PostgreSQL."""
        try:
            for name, search in search_databases(settings, lambda: Search(self._erased)).items():
                self._add(name, search.found)
        except Unsearchable as error:
            self._problem("PostgreSQL", str(error))
        except OperationalError:
            self.passing += 1
            self._problem("PostgreSQL", "the database cannot be reached or is busy")

    def _listed(self) -> list[Entry]:
        """The files that are to be searched yet; the names of all that is new are searched at once."""
        files = []
        for entry in self._all():
            if entry.known not in self._named:
                self._named.add(entry.known)
                search = Search(self._erased, found=Found())
                search.name(entry.path)
                search.name(entry.link)
                self._add(NAMES, search.found)
                if entry.problem:
                    self._problem(entry.path, entry.problem)
            if not entry.folder and not entry.problem and (entry.upload or entry.known not in self._done):
                files.append(entry)
        return files

    def _all(self) -> Iterator[Entry]:
        yield from walk(self._root)
        if is_remote(self._data):
            with answering():
                yield from walk_objects(self._data)

    def _owner(self, file: Entry) -> Place | None:
        return owner(file.path, self._places, in_bucket=file.object is not None)

    def _search(self, file: Entry) -> _Outcome:
        place = self._owner(file)
        if place is None:
            return _Outcome(problem="nobody accounts for this file", lasting=True)
        if place.reader is None:
            return _Outcome(problem=f"the place {place.name} has no reader", lasting=True)
        if file.upload and place.arrivals:
            return _Outcome(Found())
        if file.upload:
            return _Outcome(problem="an upload of it was begun and not finished", lasting=self._is_old(file))
        if belongs_to_database(file.path):
            return _Outcome(Found(files=1))
        search = Search(self._erased, place.arrivals and file.changed > self._erased.at.timestamp())
        try:
            with answering():
                place.reader(file.object or self._root / file.path, search)
        except FileNotFoundError:
            return _Outcome()
        except Changed:
            return _Outcome()
        except Unsearchable as error:
            return _Outcome(problem=str(error))
        except OSError as error:
            return _Outcome(problem=f"it cannot be read ({error.strerror})")
        return _Outcome(search.found)

    def _settled(self, file: Entry, outcome: _Outcome, patient: bool) -> bool:
        """Whether nothing more is to be done about a file; what is to be told of it is noted."""
        place = self._owner(file)
        if outcome.found is not None:
            self._add(place.name if place else NAMES, outcome.found)
        elif outcome.problem is None:
            return False
        else:
            passing = not outcome.lasting and (file.upload or _is_being_written(file, place))
            if passing and patient:
                return False
            self.passing += passing
            self._problem(file.path, outcome.problem + ("; somebody writes it" if passing else ""))
        if not file.upload:
            self._done.add(file.known)
        return True

    def _is_old(self, upload: Entry) -> bool:
        """Whether an upload was begun before the erasure: it may hold what was erased."""
        return upload.modified < self._erased.at.timestamp() - _SKEW_SECONDS

    def _add(self, place: str, found: Found) -> None:
        self.found[place] = self.found.get(place, Found()) + found

    def _problem(self, path: str, problem: str) -> None:
        self.problems.append(f"{self._erased.needles.redacted(path)}: {problem}")


def _is_being_written(file: Entry, place: Place | None) -> bool:
    return place is not None and place.unfinished and time.time() - file.modified < _FRESH_SECONDS
