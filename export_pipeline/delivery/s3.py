"""Presigned URLs of an S3 store, where the exports' files lie there: the store itself sends their bytes.

A presigned URL asks nobody whether it was revoked, and ends with the credentials that signed it. So none is
handed out: a signed URL of the API is, and each use of it, checked and logged, is sent on to a presigned one
that lasts for minutes.
"""

from datetime import timedelta
from urllib.parse import quote

from upath import UPath

from export_pipeline import objects
from export_pipeline.delivery.onefile import media_type
from export_pipeline.settings import Settings

LASTS = timedelta(minutes=10)
"""How long a presigned URL is good for to begin a download. Credentials of a role are renewed while they have
this long to go."""


class Presigner:
    """Signs URLs of objects of the deployment, as those who download reach the store."""

    def __init__(self, settings: Settings) -> None:
        endpoint = settings.s3_public_endpoint or settings.s3_endpoint
        self._seen = objects.place(settings.object_store.rstrip("/"), endpoint, settings.s3_region)

    def url(self, path: UPath, saved_as: str, method: str = "GET", lasts: timedelta = LASTS) -> str:
        """The absolute URL of an object for GET or HEAD; its bytes are to be saved under ``saved_as``."""
        described = {
            "ResponseContentType": media_type(path.name),
            "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(saved_as)}",
            "ResponseCacheControl": "private, no-transform",
        }
        seconds, operation = int(lasts.total_seconds()), f"{method.lower()}_object"
        return str(self._seen.fs.url(path.path, expires=seconds, client_method=operation, **described))
