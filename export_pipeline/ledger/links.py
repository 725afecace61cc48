"""Links to the files of an export, and the log of what was downloaded through them (contract, section 5)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, delete, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from export_pipeline import ids
from export_pipeline.ledger.engine import reading
from export_pipeline.ledger.tables import downloads, links


@dataclass(frozen=True)
class Link:
    """Permission to download the files of one job until ``expires_at``, unless revoked.

    ``path`` is the version of them that it leads to, relative to the exports' root; None: the one shown.
    """

    id: str
    job_id: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    path: str | None = None


class Links:
    """The links of one deployment; safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, job_id: str, expires_at: datetime, now: datetime, path: str | None = None) -> Link:
        """A new link to the files of a job, in the version at ``path``."""
        link = Link(ids.LINK.new(), job_id, now, expires_at, None, path)
        with self._engine.begin() as connection:
            connection.execute(
                insert(links).values(
                    id=link.id, job_id=job_id, created_at=now, expires_at=expires_at, path=path
                )
            )
        return link

    def newest(self, job_id: str, now: datetime, path: str | None) -> Link | None:
        """The link to a version of a job's files that was made last and is in force at ``now``; None if
        there is none."""
        query = (
            select(links)
            .where(links.c.path == path, *_in_force(job_id, now))
            .order_by(links.c.created_at.desc(), links.c.id)
            .limit(1)
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _link(row)

    def get(self, link_id: str) -> Link:
        """A link, whatever its state.

        Raises:
            NotFound: if there is none with this id.
        """
        with reading(self._engine) as connection:
            row = connection.execute(select(links).where(links.c.id == link_id)).one_or_none()
        if row is None:
            raise ids.LINK.unknown(link_id)
        return _link(row)

    def revoke(self, job_id: str, now: datetime, path: str | None = None) -> int:
        """End every link of a job at once, or those to its version at ``path``; how many were in force."""
        only = () if path is None else (links.c.path == path,)
        with self._engine.begin() as connection:
            return connection.execute(
                update(links).where(*_in_force(job_id, now), *only).values(revoked_at=now)
            ).rowcount

    def begin_download(self, link_id: str, name: str, now: datetime) -> int:
        """Note that a file is about to be sent through a link; the number to end the note with."""
        with self._engine.begin() as connection:
            return int(
                connection.execute(
                    insert(downloads)
                    .values(link_id=link_id, name=name, at=now, bytes=0)
                    .returning(downloads.c.id)
                ).scalar_one()
            )

    def end_download(self, number: int, sent: int) -> None:
        """Note how many bytes were sent, all or not."""
        with self._engine.begin() as connection:
            connection.execute(update(downloads).where(downloads.c.id == number).values(bytes=sent))

    def downloads(self, job_id: str) -> tuple[int, int, datetime | None]:
        """How often files of a job were downloaded, the bytes sent, and when last."""
        last = func.max(downloads.c.at, type_=downloads.c.at.type)
        query = (
            select(func.count(), func.coalesce(func.sum(downloads.c.bytes), 0), last)
            .join(links, links.c.id == downloads.c.link_id)
            .where(links.c.job_id == job_id)
        )
        with reading(self._engine) as connection:
            count, sent, at = connection.execute(query).one()
        return int(count), int(sent), at

    def ended(self, before: datetime) -> int:
        """How many downloads are noted of links that ended before ``before``."""
        query = select(func.count()).where(downloads.c.link_id.in_(_ended(before)))
        with reading(self._engine) as connection:
            return connection.execute(query).scalar() or 0

    def forget(self, before: datetime) -> int:
        """Remove links that ended before ``before`` and their downloads; how many downloads there were."""
        with self._engine.begin() as connection:
            gone = connection.execute(delete(downloads).where(downloads.c.link_id.in_(_ended(before))))
            connection.execute(delete(links).where(links.c.expires_at < before))
            return gone.rowcount


def revoke_others(connection: Connection, job: Row[Any], now: datetime) -> None:
    """End the links to other versions of a job's files than it shows, as part of a transaction."""
    connection.execute(
        update(links).where(*_in_force(job.id, now), links.c.path != job.path).values(revoked_at=now)
    )


def _in_force(job_id: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return links.c.job_id == job_id, links.c.revoked_at.is_(None), links.c.expires_at > now


def _ended(before: datetime) -> Select[tuple[str]]:
    return select(links.c.id).where(links.c.expires_at < before)


def _link(row: Row[Any]) -> Link:
    return Link(row.id, row.job_id, row.created_at, row.expires_at, row.revoked_at, row.path)
