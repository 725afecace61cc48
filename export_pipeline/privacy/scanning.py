"""Searching everything below the state root, and databases, for ids that must be gone, and failing where
that cannot be done.

What others do meanwhile: a file that vanished is looked for again among those that came since; one that is
being written is waited for. Files that came into the landing directory after the erasure are searched, but
ingest judges them: matches in them are a later use.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sqlalchemy.exc import OperationalError

from export_pipeline.databases import postgres
from export_pipeline.privacy.postgres import search_databases
from export_pipeline.privacy.registry import PLACES, Place, belongs_to_database, owner
from export_pipeline.privacy.searching import Erased, Found, Search, Unsearchable
from export_pipeline.privacy.walking import Entry, walk
from export_pipeline.settings import Settings

NAMES = "names"
"""Under which the names of files and folders are counted."""

PATIENCE_SECONDS = 60.0
"""How long a file that somebody writes is waited for, until it can be read or is gone."""

_PAUSE_SECONDS = 0.5
_FRESH_SECONDS = 600
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
    """Search everything below the state root, with ``settings.workers`` threads, a few windows in each, and
    the databases that are not there."""
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
        self._erased = erased
        self._places = places
        self._done: set[str] = set()
        self._named: set[str] = set()
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
        for entry in walk(self._root):
            if entry.path not in self._named:
                self._named.add(entry.path)
                search = Search(self._erased, found=Found())
                search.name(entry.path)
                search.name(entry.link)
                self._add(NAMES, search.found)
                if entry.problem:
                    self._problem(entry.path, entry.problem)
            if not entry.folder and not entry.problem and entry.path not in self._done:
                files.append(entry)
        return files

    def _search(self, file: Entry) -> _Outcome:
        place = owner(file.path, self._places)
        if place is None:
            return _Outcome(problem="nobody accounts for this file", lasting=True)
        if place.reader is None:
            return _Outcome(problem=f"the place {place.name} has no reader", lasting=True)
        if belongs_to_database(file.path):
            return _Outcome(Found(files=1))
        search = Search(self._erased, place.arrivals and file.changed > self._erased.at.timestamp())
        try:
            place.reader(self._root / file.path, search)
        except FileNotFoundError:
            return _Outcome()
        except Unsearchable as error:
            return _Outcome(problem=str(error))
        except OSError as error:
            return _Outcome(problem=f"it cannot be read ({error.strerror})")
        return _Outcome(search.found)

    def _settled(self, file: Entry, outcome: _Outcome, patient: bool) -> bool:
        """Whether nothing more is to be done about a file; what is to be told of it is noted."""
        place = owner(file.path, self._places)
        if outcome.found is not None:
            self._add(place.name if place else NAMES, outcome.found)
        elif outcome.problem is None:
            return False
        else:
            passing = not outcome.lasting and _is_being_written(file, place)
            if passing and patient:
                return False
            self.passing += passing
            self._problem(file.path, outcome.problem + ("; somebody writes it" if passing else ""))
        self._done.add(file.path)
        return True

    def _add(self, place: str, found: Found) -> None:
        self.found[place] = self.found.get(place, Found()) + found

    def _problem(self, path: str, problem: str) -> None:
        self.problems.append(f"{self._erased.needles.redacted(path)}: {problem}")


def _is_being_written(file: Entry, place: Place | None) -> bool:
    return place is not None and place.unfinished and time.time() - file.modified < _FRESH_SECONDS
