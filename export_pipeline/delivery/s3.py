"""Presigned URLs of an S3 store, where the exports' files lie there: the store itself answers them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import quote

from export_pipeline.delivery.links import LIFETIME, Target
from export_pipeline.delivery.onefile import media_type
from export_pipeline.errors import Gone
from export_pipeline.ledger.links import Link


class Client(Protocol):
    """What is needed of boto3's S3 client, set up with Signature Version 4."""

    def generate_presigned_url(self, operation: str, /, *, Params: Mapping[str, Any], ExpiresIn: int) -> str:
        """A URL for one operation that works for so many seconds."""


class S3Signer:
    """Signs URLs of objects ``<prefix><export's path>/<name>`` of a bucket.

    A presigned URL asks nobody whether it was revoked; it works until it expires, or its object is gone.
    """

    def __init__(self, client: Client, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def url(self, link: Link, target: Target, now: datetime) -> str:
        """The absolute URL of a target; no longer in force than its link, nor than S3 allows.

        Raises:
            Gone: if the link has expired.
        """
        seconds = int(min(link.expires_at - now, LIFETIME).total_seconds())
        if seconds < 1:
            raise Gone("the link has expired; ask for the export's status to get a new one")
        saved_as = target.name.replace("/", "-")
        return self._client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self._bucket,
                "Key": f"{self._prefix}{target.path}/{target.name}",
                "ResponseContentType": media_type(target.name),
                "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(saved_as)}",
            },
            ExpiresIn=seconds,
        )
