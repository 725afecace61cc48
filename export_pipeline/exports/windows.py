"""A window: the unit of compression, whose rows are one gzip member (contract, section 3)."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Window:
    """Rows with ``begin <= timestamp < end`` and, where ids are given, ``first_id <= eventId < last_id``.

    ``rows`` is how many there are; None where an instant was cut by ids without counting each piece.
    """

    begin: datetime
    end: datetime
    rows: int | None
    first_id: str | None = None
    last_id: str | None = None

    @property
    def by_id(self) -> bool:
        """Whether the window is a piece of a single instant."""
        return self.first_id is not None or self.last_id is not None
