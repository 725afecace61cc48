"""The jobs of a schedule: which there are under an id, and what the next increment goes on from."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, or_, select

from export_pipeline.errors import InvalidRequest, OutsideRetention
from export_pipeline.ledger.jobs import COMPLETE, EXPIRED, FAILED, OPEN
from export_pipeline.ledger.tables import jobs

_REFUSED = (InvalidRequest.code, OutsideRetention.code)
"""How a job fails that was to go on from a cursor nobody can go on from; the next one begins anew."""
_MOST_LOOKED_AT = 60


def cursors(connection: Connection, schedule_id: str) -> tuple[str, ...]:
    """What the next increment of a schedule goes on from: the cursor of the last one; before the first those
    of its exports in full, newest first. None if it begins, or began anew."""
    query = (
        select(jobs.c.state, jobs.c.request, jobs.c.error_code)
        .where(jobs.c.created_by == schedule_id)
        .order_by(jobs.c.number.desc())
        .limit(_MOST_LOOKED_AT)
    )
    found: list[str] = []
    for state, request, error in connection.execute(query):
        if state == FAILED and error in _REFUSED and request.get("since"):
            break
        cursor = request.get("cursor")
        if state not in (COMPLETE, EXPIRED) or cursor is None or (found and state == EXPIRED):
            continue
        if request.get("since"):
            # It went on from all that were before it.
            return (*found, cursor)
        found.append(cursor)
        if state == EXPIRED:
            break
    return tuple(found)


def follows(connection: Connection, schedule_id: str, since: Sequence[str]) -> bool:
    """Whether an increment from the cursors ``since`` goes on from the last one, and none is being made."""
    return not is_making(connection, schedule_id) and tuple(since) == cursors(connection, schedule_id)


def is_making(connection: Connection, schedule_id: str) -> bool:
    """Whether a job of a schedule is queued or processing."""
    making = select(jobs.c.id).where(jobs.c.created_by == schedule_id, jobs.c.state.in_(OPEN)).limit(1)
    return connection.execute(making).scalar() is not None


def states(connection: Connection, job_id: str) -> dict[str, str]:
    """The states of the jobs under an id, or that with a number behind it."""
    mine = or_(jobs.c.id == job_id, jobs.c.id.startswith(f"{job_id}_", autoescape=True))
    found = connection.execute(select(jobs.c.id, jobs.c.state).where(mine))
    return {row.id: row.state for row in found}


def free_id(job_id: str, known: Mapping[str, str]) -> str:
    """``job_id``, or with a number behind it if there are jobs ``known`` under it."""
    return f"{job_id}_{len(known) + 1}" if known else job_id
