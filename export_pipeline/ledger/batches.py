"""What is known of a batch: its identity, what became of its lines, and its states.

``taken`` → ``committed`` | ``abandoned``; nothing leaves an end state.
"""

from dataclasses import dataclass
from datetime import datetime

TAKEN, COMMITTED, ABANDONED = "taken", "committed", "abandoned"


@dataclass(frozen=True)
class Counts:
    """What became of a batch's lines: ``received = accepted + rejected + duplicate + suppressed``.

    Beside that sum: unknown top-level keys dropped, known ``data`` fields of another type (drift),
    and timestamps set back to ``receivedAt`` (clamped).
    """

    received: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    suppressed: int = 0
    unknown_keys: int = 0
    drift: int = 0
    clamped: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """The counts of both together."""
        return Counts(*(a + b for a, b in zip(self.__dict__.values(), other.__dict__.values(), strict=True)))

    def add_up(self) -> bool:
        """Whether every received line is accounted for once."""
        return self.received == self.accepted + self.rejected + self.duplicate + self.suppressed


@dataclass(frozen=True)
class Batch:
    """A batch as the ledger holds it. ``target`` is a data type or ``users/<table>``."""

    id: str
    sequence: int
    target: str
    source: str
    state: str
    files: tuple[str, ...]
    taken_at: datetime
    ended_at: datetime | None
    counts: Counts
