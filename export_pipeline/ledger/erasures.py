"""Erasure requests: who is to be erased, in which pass, and how far that is (contract, section 6).

``queued`` → ``processing`` → ``complete`` | ``failed``; ``failed`` → ``processing`` when what failed is tried
again. Requests that wait together are worked on as one pass, which has the id of the first of them.

The person is kept encrypted, and only until the erasure is complete; what stays is a keyed hash.
"""

import builtins
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, and_, func, insert, or_, select, update

from export_pipeline import ids, secrets
from export_pipeline.errors import Conflict
from export_pipeline.ledger.engine import reading
from export_pipeline.ledger.erasure_steps import noted
from export_pipeline.ledger.paging import read_page
from export_pipeline.ledger.sealing import FILTERS, Seal
from export_pipeline.ledger.suppressions import KEY as HASH_KEY
from export_pipeline.ledger.suppressions import key_hash
from export_pipeline.ledger.tables import erasures
from export_pipeline.settings import Settings

QUEUED, PROCESSING, COMPLETE, FAILED = "queued", "processing", "complete", "failed"
STATES = (QUEUED, PROCESSING, COMPLETE, FAILED)
OPEN = (QUEUED, PROCESSING)

MAX_ATTEMPTS = 3
MOST_TOGETHER = 100
"""Requests worked on in one pass at most."""
ERASE_STORE = "erase_store"
"""The step after which nothing of a pass is in the store that is not in the ledger."""
TIME_LIMIT = timedelta(days=30)


@dataclass(frozen=True)
class Erasure:
    """A request as the ledger holds it; instants are UTC.

    ``pass_id`` is None until somebody began to work on it; ``subject`` the keyed hash of the user id;
    ``erased_at`` the instant up to which events of the person are refused; ``watermark`` the sequence number
    of the last batch that came before the erasure; ``certificate`` a path relative to the state root.
    """

    id: str
    number: int
    state: str
    pass_id: str | None
    subject: str
    created_by: str
    created_at: datetime
    due_at: datetime
    started_at: datetime | None
    erased_at: datetime | None
    watermark: int | None
    ended_at: datetime | None
    attempt: int
    error_code: str | None
    error_message: str | None
    certificate: str | None


@dataclass(frozen=True)
class Subject:
    """The ids of who is to be erased, kept out of every representation; None: not resolved yet."""

    user_id: str = field(repr=False)
    own: tuple[str, ...] | None = field(default=None, repr=False)
    contested: tuple[str, ...] | None = field(default=None, repr=False)


class Erasures:
    """The erasure requests of one deployment; safe to share between threads."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._seal = Seal(settings, FILTERS)
        self._engine = engine

    @property
    def key(self) -> bytes:
        """The deployment's key that ids are hashed with."""
        return secrets.key(self._settings, HASH_KEY)

    def create(
        self,
        user_ids: Sequence[str],
        created_by: str,
        now: datetime,
        request_ids: Sequence[str] | None = None,
    ) -> tuple[Erasure, ...]:
        """Queue an erasure for each behind all that are there, in one transaction; what is there under one of
        ``request_ids`` stays.

        Args:
            created_by: the id of a key, or ``command``.
            request_ids: their ids; default: new ones.
        """
        all_ids = list(request_ids or (ids.ERASURE.new() for _ in user_ids))
        with self._engine.begin() as connection:
            number = connection.execute(select(func.max(erasures.c.number))).scalar() or 0
            there = set(connection.execute(select(erasures.c.id).where(erasures.c.id.in_(all_ids))).scalars())
            for request_id, user_id in zip(all_ids, user_ids, strict=True):
                if request_id not in there:
                    number += 1
                    connection.execute(
                        insert(erasures).values(
                            id=request_id,
                            number=number,
                            state=QUEUED,
                            subject=key_hash(self._settings, user_id),
                            person=self._sealed(Subject(user_id)),
                            created_by=created_by,
                            created_at=now,
                            due_at=now + TIME_LIMIT,
                            attempt=0,
                        )
                    )
        return tuple(map(self.get, all_ids))

    def get(self, request_id: str) -> Erasure:
        """A request.

        Raises:
            NotFound: if there is none with this id.
        """
        with reading(self._engine) as connection:
            row = connection.execute(select(erasures).where(erasures.c.id == request_id)).one_or_none()
        if row is None:
            raise ids.ERASURE.unknown(request_id)
        return _erasure(row)

    def list(
        self, states: Sequence[str] = STATES, *, limit: int = 20, cursor: str | None = None
    ) -> tuple[tuple[Erasure, ...], str | None, int]:
        """Requests in some states newest first, the cursor of the next page (None on the last), and how many
        there are.

        Raises:
            InvalidRequest: naming ``limit`` or ``cursor``.
        """
        wanted = [erasures.c.state.in_(tuple(states))]
        with reading(self._engine) as connection:
            rows, following, total = read_page(connection, erasures, wanted, limit, cursor)
        return tuple(map(_erasure, rows)), following, total

    def open(self) -> tuple[Erasure, ...]:
        """The requests that are queued or processing, in the order in which they were made."""
        return self._found(erasures.c.state.in_(OPEN))

    def unfulfilled(self) -> tuple[Erasure, ...]:
        """The requests that are open, or failed and were fulfilled by no later one, oldest first."""
        return self._found(or_(erasures.c.state.in_(OPEN), erasures.c.person.is_not(None)))

    def unfinished_passes(self, step: str) -> builtins.list[str]:
        """The passes with a request that is not complete of which a step is not noted, in order."""
        found = self._found(and_(erasures.c.state != COMPLETE, erasures.c.pass_id.not_in(noted(step))))
        return list(dict.fromkeys(each.pass_id for each in found if each.pass_id))

    def together(self, pass_id: str) -> tuple[Erasure, ...]:
        """The requests of a pass, in the order in which they were made."""
        return self._found(erasures.c.pass_id == pass_id)

    def _found(self, condition: Any) -> tuple[Erasure, ...]:
        with reading(self._engine) as connection:
            query = select(erasures).where(condition).order_by(erasures.c.number)
            return tuple(map(_erasure, connection.execute(query)))

    def begin(self, request_id: str, now: datetime) -> tuple[Erasure, ...]:
        """Begin an attempt at the pass of a request, made of all that wait if it is in none; who is in it.

        Raises:
            Conflict: if the request is complete.
            NotFound: if there is none with this id.
        """
        self.get(request_id)
        with self._engine.begin() as connection:
            mine = erasures.c.id == request_id
            if connection.execute(select(erasures.c.pass_id).where(mine)).scalar() is None:
                waiting = (
                    select(erasures.c.id)
                    .where(erasures.c.state == QUEUED, erasures.c.pass_id.is_(None))
                    .order_by((erasures.c.id != request_id), erasures.c.number)
                    .limit(MOST_TOGETHER)
                )
                connection.execute(
                    update(erasures).where(erasures.c.id.in_(waiting)).values(pass_id=request_id)
                )
            self._go_on(connection, request_id, now, attempt=erasures.c.attempt + 1)
        return self.resume(request_id, now)

    def resume(self, request_id: str, now: datetime) -> tuple[Erasure, ...]:
        """The requests of a pass that was begun, being worked on from now on if they had failed.

        Raises:
            Conflict: if the request is complete, or no pass of it was begun.
            NotFound: if there is none with this id.
        """
        request = self.get(request_id)
        if request.state == COMPLETE:
            raise Conflict(f"erasure {request_id} has ended; it is complete", field="requestId")
        if request.pass_id is None:
            raise Conflict(
                f"erasure {request_id} was not begun; it has to be resolved first", field="requestId"
            )
        with self._engine.begin() as connection:
            self._go_on(connection, request_id, now)
        return tuple(each for each in self.together(request.pass_id) if each.state == PROCESSING)

    def _go_on(self, connection: Connection, request_id: str, now: datetime, **to: Any) -> None:
        pass_id = select(erasures.c.pass_id).where(erasures.c.id == request_id).scalar_subquery()
        connection.execute(
            update(erasures)
            .where(erasures.c.pass_id == pass_id, erasures.c.state != COMPLETE)
            .values(
                state=PROCESSING,
                started_at=func.coalesce(erasures.c.started_at, now),
                ended_at=None,
                error_code=None,
                error_message=None,
                **to,
            )
        )

    def subject(self, request_id: str) -> Subject:
        """Who a request is about.

        Raises:
            Conflict: if it is complete: nobody knows any more.
        """
        with reading(self._engine) as connection:
            held = connection.execute(select(erasures.c.person).where(erasures.c.id == request_id)).scalar()
        if held is None:
            raise Conflict(f"erasure {request_id} has ended; it is complete", field="requestId")
        return self._opened(held)

    def unfinished(self, subject: str) -> tuple[Subject, ...]:
        """What is known of a person, given by keyed hash, from all requests that are not complete."""
        with reading(self._engine) as connection:
            query = select(erasures.c.person).where(
                erasures.c.subject == subject, erasures.c.person.is_not(None)
            )
            return tuple(map(self._opened, connection.execute(query).scalars()))

    def gone_on_with(self, request: Erasure) -> tuple[Erasure, ...]:
        """The requests for the same person that this one goes on with, oldest first: those that failed, or
        were interrupted in another pass."""
        same = and_(erasures.c.subject == request.subject, erasures.c.number < request.number)
        before = self._found(same)
        done = max((each.number for each in before if each.state == COMPLETE), default=0)
        found = (
            each
            for each in before
            if each.number > done
            and (each.state == FAILED or (each.state == PROCESSING and each.pass_id != request.pass_id))
        )
        # Two for one person in one pass removed the same rows.
        return tuple({each.pass_id: each for each in found}.values())

    def keep_subject(self, request_id: str, subject: Subject) -> None:
        """Keep what was found out about the person, encrypted; what tells it is erased later."""
        with self._engine.begin() as connection:
            connection.execute(
                update(erasures)
                .where(erasures.c.id == request_id, erasures.c.state != COMPLETE)
                .values(person=self._sealed(subject))
            )

    def date_from(self, pass_id: str, erased_at: datetime) -> datetime:
        """Note the instant of a pass's erasure, if none is noted yet; the one noted."""
        noted: datetime = self._once(pass_id, "erased_at", erased_at)
        return noted

    def reach_to(self, pass_id: str, watermark: int) -> int:
        """Note the last batch that came before a pass's erasure, if none is noted yet; the one noted."""
        return int(self._once(pass_id, "watermark", watermark))

    def _once(self, pass_id: str, column: str, value: Any) -> Any:
        of_pass = erasures.c.pass_id == pass_id
        with self._engine.begin() as connection:
            connection.execute(
                update(erasures).where(of_pass, erasures.c[column].is_(None)).values({column: value})
            )
            return connection.execute(select(erasures.c[column]).where(of_pass).limit(1)).scalar()

    def complete(self, request_id: str, certificate: str, now: datetime) -> Erasure:
        """End a request whose certificate was written, and forget who it was about.

        Raises:
            Conflict: if it is not being worked on.
        """
        with self._engine.begin() as connection:
            row = connection.execute(
                update(erasures)
                .where(erasures.c.id == request_id, erasures.c.state == PROCESSING)
                .values(state=COMPLETE, certificate=certificate, ended_at=now, person=None)
                .returning(*erasures.c)
            ).one_or_none()
            if row is not None:
                # Requests for the same person that failed are fulfilled by this one.
                connection.execute(
                    update(erasures)
                    .where(erasures.c.subject == row.subject, erasures.c.state == FAILED)
                    .values(person=None)
                )
                return _erasure(row)
        raise Conflict(
            f"erasure {request_id} is {self.get(request_id).state}; it must be processing", field="requestId"
        )

    def fail(self, pass_id: str, code: str, message: str, now: datetime) -> None:
        """End the requests of a pass that are not complete with an error; they can be tried again."""
        with self._engine.begin() as connection:
            connection.execute(
                update(erasures)
                .where(
                    or_(
                        erasures.c.pass_id == pass_id,
                        and_(erasures.c.id == pass_id, erasures.c.pass_id.is_(None)),
                    ),
                    erasures.c.state.in_(OPEN),
                )
                .values(state=FAILED, error_code=code, error_message=message, ended_at=now)
            )

    def _sealed(self, subject: Subject) -> bytes:
        return self._seal.close(json.dumps([subject.user_id, subject.own, subject.contested]))

    def _opened(self, held: bytes) -> Subject:
        user_id, own, contested = json.loads(self._seal.open(held))
        return Subject(user_id, _ids(own), _ids(contested))


def _ids(ids: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if ids is None else tuple(ids)


def _erasure(row: Row[Any]) -> Erasure:
    return Erasure(**{name: value for name, value in row._mapping.items() if name != "person"})
