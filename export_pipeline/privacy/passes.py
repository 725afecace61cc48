"""A pass: the requests that are worked on together, and who they are about.

Owns how what is found of several people is told apart by request.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from export_pipeline.errors import Conflict
from export_pipeline.ledger import Erasure, Ledger
from export_pipeline.ledger.erasures import Subject
from export_pipeline.privacy.identity import Person
from export_pipeline.privacy.matching import Needles

LOCK = "erasure"
"""Held while a pass is worked on in one process."""


@dataclass(frozen=True)
class Pass:
    """Requests under way and the person of each, in the same order; ``key`` is what ids are hashed with."""

    id: str
    requests: tuple[Erasure, ...]
    persons: tuple[Person, ...] = field(repr=False)
    key: bytes = field(repr=False)

    @property
    def erased_at(self) -> datetime:
        """The instant up to which events of these people are refused.

        Raises:
            Conflict: if it is not decided yet.
        """
        if (instant := self.requests[0].erased_at) is None:
            raise Conflict(f"erasure {self.id} has to suppress first", field="requestId")
        return instant

    @property
    def watermark(self) -> int:
        """The last batch that came before the erasure.

        Raises:
            Conflict: if it is not decided yet.
        """
        if (last := self.requests[0].watermark) is None:
            raise Conflict(f"erasure {self.id} has to suppress first", field="requestId")
        return last

    @cached_property
    def ids(self) -> frozenset[str]:
        """The ids of which nothing is left afterwards."""
        return frozenset[str]().union(*(person.ids for person in self.persons))

    @cached_property
    def holders(self) -> Mapping[str, tuple[str, ...]]:
        """The ids under which rows go, with the requests for which they do."""
        holders = defaultdict[str, list[str]](list)
        for request, person in zip(self.requests, self.persons, strict=True):
            for id_ in person.row_ids:
                holders[id_].append(request.id)
        return {id_: tuple(requests) for id_, requests in holders.items()}

    @cached_property
    def needles(self) -> Needles:
        """Finds ``ids``."""
        return Needles(self.ids, self.key)


def under_way(ledger: Ledger, request_id: str, now: datetime) -> Pass:
    """The pass of a request that was resolved.

    Raises:
        Conflict: if it was not, or the request is complete.
        NotFound: if there is no such request.
    """
    requests = ledger.erasures.resume(request_id, now)
    persons = tuple(_person(request, ledger.erasures.subject(request.id)) for request in requests)
    return Pass(str(requests[0].pass_id), requests, persons, ledger.erasures.key)


def _person(request: Erasure, subject: Subject) -> Person:
    if subject.own is None or subject.contested is None:
        raise Conflict(f"erasure {request.id} has to be resolved first", field="requestId")
    return Person(subject.user_id, frozenset(subject.own), frozenset(subject.contested))
