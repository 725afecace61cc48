"""The ids of things: how each kind is made and what form it has.

What has not the form of an id may be somebody's, which no text of an error may hold: such a value is never
repeated.
"""

import re
import secrets
from dataclasses import dataclass
from functools import cached_property

from export_pipeline.errors import NotFound

_DIGITS = 24


@dataclass(frozen=True)
class Kind:
    """A kind of thing: what it is called, the field that names one, and what its ids begin with.

    Attributes:
        others: patterns of ids that are not made here but from what the thing is about.
        like: the form in words, if it is another than the prefix and digits.
    """

    noun: str
    field: str
    prefix: str
    digits: int = _DIGITS
    others: tuple[str, ...] = ()
    like: str = ""

    def new(self) -> str:
        """An id that nothing has."""
        return self.of(secrets.token_hex(self.digits // 2))

    def of(self, digest: str) -> str:
        """The id that belongs to a hexadecimal digest, the same each time."""
        return f"{self.prefix}{digest[: self.digits]}"

    def fits(self, text: str) -> bool:
        """Whether ``text`` has the form of such an id."""
        return self._form.fullmatch(text) is not None

    def shown(self, given: str) -> str:
        """``given`` as an error may show it."""
        return given if self.fits(given) else "no such id"

    @property
    def right(self) -> str:
        """What such an id looks like, in words."""
        return self.like or f"{self.prefix} and {self.digits} hexadecimal digits"

    def unknown(self, given: str) -> NotFound:
        """The error that tells that nothing of this kind has the id ``given``."""
        if self.fits(given):
            return NotFound(f"there is no {self.noun} {given}", field=self.field)
        return NotFound(f"there is no such {self.noun}; {self.field} must be {self.right}", field=self.field)

    @cached_property
    def _form(self) -> re.Pattern[str]:
        own = f"{self.prefix}[0-9a-f]{{{self.digits}}}"
        return re.compile("|".join([own, *self.others]), re.ASCII)


SCHEDULE = Kind("schedule", "id", "sch_")
ACCESS = Kind("access export", "jobId", "usr_exp_")
EXPORT = Kind(
    "export",
    "jobId",
    "exp_",
    others=(rf"exp_(?:daily|weekly)_[0-9]{{8}}_{SCHEDULE.prefix}[0-9a-f]{{{SCHEDULE.digits}}}",),
)
JOB = Kind(
    "job",
    "jobId",
    EXPORT.prefix,
    others=(*EXPORT.others, f"{ACCESS.prefix}[0-9a-f]{{{ACCESS.digits}}}"),
    like=f"the id of one, which begins with {EXPORT.prefix} or {ACCESS.prefix}",
)
ERASURE = Kind("erasure", "requestId", "era_")
WEBHOOK = Kind("webhook", "webhookId", "whk_")
DELIVERY = Kind("delivery", "deliveryId", "del_")
KEY = Kind("key", "keyId", "key_")
LINK = Kind("link", "linkId", "lnk_")
REQUEST = Kind("request", "requestId", "req_")
BATCH = Kind("batch", "batchId", "bat_", digits=32)
