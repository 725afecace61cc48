"""Signed URLs to the files of an export: who signs them, and what one is worth (contract, section 5).

They lead to this deployment's own API. Where the files lie in an S3 store, it sends whoever uses one on to a
presigned URL of the store (see ``s3``).
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import quote

from export_pipeline import secrets
from export_pipeline.delivery.onefile import one_file_name
from export_pipeline.delivery.published import Published, published
from export_pipeline.errors import DamagedData, Forbidden, Gone, NotFound
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.ledger import Job, Ledger
from export_pipeline.ledger.links import Link
from export_pipeline.settings import Settings

LIFETIME = timedelta(days=7)
DEFAULT_URL = "http://127.0.0.1:8000"
"""Where ``serve`` answers unless told otherwise."""
_SECRET = "links"


class HmacSigner:
    """Signs URLs that this deployment's API answers.

    Args:
        reached_at: where who asks has reached it; not used where the operator set where it is reached.
    """

    def __init__(self, settings: Settings, reached_at: str = DEFAULT_URL) -> None:
        self._key = secrets.key(settings, _SECRET)
        self._base_url = (settings.public_url or reached_at).rstrip("/")

    def url(self, link: Link, name: str) -> str:
        """The absolute URL of what ``onefile`` calls ``name``, through a link; the same for the same link."""
        expires = str(int(link.expires_at.timestamp()))
        return (
            f"{self._base_url}/v1/downloads/{link.id}/{quote(name)}"
            f"?expires={expires}&signature={self._sign(link.id, name, expires)}"
        )

    def check(self, link_id: str, name: str, expires: str, signature: str, now: datetime) -> None:
        """Refuse a URL that was not signed here, or whose time is over.

        Raises:
            Forbidden: if anything of it was changed.
            Gone: if it has expired.
        """
        expected = self._sign(link_id, name, expires)
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogatepass")):
            raise Forbidden("the URL was changed; it must be used exactly as it was given")
        if now.timestamp() >= int(expires):
            raise Gone("the URL has expired; ask for the export's status to get a new one")

    def _sign(self, link_id: str, name: str, expires: str) -> str:
        signed = "\n".join((link_id, name, expires)).encode("utf-8", "surrogatepass")
        mac = hmac.new(self._key, signed, hashlib.sha256)
        return base64.urlsafe_b64encode(mac.digest()).rstrip(b"=").decode()


@dataclass(frozen=True)
class Urls:
    """Where the files of an export can be downloaded, until ``expires_at``."""

    download: str
    manifest: str
    files: Mapping[str, str]
    expires_at: datetime


def urls(export: Published, link: Link, signer: HmacSigner) -> Urls:
    """The URLs of a complete job's export through a link."""

    def url(name: str) -> str:
        return signer.url(link, name)

    return Urls(
        download=url(one_file_name(export.manifest)),
        manifest=url(MANIFEST),
        files={name: url(name) for name in export.part_names},
        expires_at=link.expires_at,
    )


def current_link(ledger: Ledger, job: Job, now: datetime) -> Link:
    """The link to the version a complete job shows that is in force; a new one if there is none."""
    return ledger.links.newest(job.id, now, job.path) or new_link(ledger, job, now)


def new_link(ledger: Ledger, job: Job, now: datetime) -> Link:
    """A new link to a complete job's files: for 7 days, and no longer than the files are kept."""
    most = now + LIFETIME
    return ledger.links.create(job.id, min(most, job.expires_at or most), now, job.path)


def followed(settings: Settings, ledger: Ledger, link_id: str, now: datetime) -> tuple[Link, Published]:
    """A link and the export it leads to, in the version it was made for, which late data may have replaced
    since; call it for a URL that ``check`` found right.

    Raises:
        Gone: if the link was revoked, or is not known any more, or that version is there no more.
        Conflict, DamagedData: see ``published``.
    """
    try:
        link = ledger.links.get(link_id)
    except NotFound:
        raise Gone("the URL is not known any more; ask for the export's status to get a new one") from None
    if link.revoked_at is not None:
        raise Gone("the URL was revoked; ask for the export's status to get a new one")
    job = ledger.jobs.get(link.job_id, now)
    if link.path in (None, job.path):
        return link, published(settings, job)
    try:
        return link, published(settings, replace(job, path=link.path))
    except DamagedData:
        raise Gone(
            "the version this URL led to is not kept any more; ask for the export's status to get a new one"
        ) from None
