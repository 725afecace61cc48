"""The files behind signed URLs; the signature is the permission, no key is needed (contract, section 5)."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from export_pipeline.api import documents
from export_pipeline.api.deployment import Deployment, deployment, signer
from export_pipeline.api.streaming import Ended, file_answer, redirection
from export_pipeline.days import utc_now
from export_pipeline.delivery.links import followed
from export_pipeline.delivery.onefile import assembled, one_object, saved_as, stored_bytes
from export_pipeline.delivery.payloads import REMOVED_EVENTS
from export_pipeline.delivery.s3 import Presigner
from export_pipeline.errors import Forbidden
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.given import shown
from export_pipeline.outages import answering
from export_pipeline.privacy.restating import removed_events

router = APIRouter(prefix="/v1/downloads", tags=["Downloads"])

Link = Annotated[str, Path(alias="linkId", description="The id of a link.")]
Name = Annotated[str, Path(description="The name of a file.")]
Expires = Annotated[str, Query(description="Part of the signed URL.")]
Signature = Annotated[str, Query(description="Part of the signed URL.")]


@router.get(
    "/{linkId}/{name:path}",
    summary="Download a file",
    responses=documents.downloads(),
)
def download(
    request: Request, link_id: Link, name: Name, expires: Expires = "", signature: Signature = ""
) -> Response:
    """Give the URL as the status of an export shows it. Resumable with `Range` and `If-Range`."""
    here, now = deployment(request), utc_now()
    if extra := [given for given in request.query_params if given not in ("expires", "signature")]:
        raise Forbidden(f"the URL was changed: {shown(extra[0])} is none of its parameters")
    signed = signer(request)
    signed.check(link_id, name, expires, signature, now)
    if name == REMOVED_EVENTS:
        return file_answer(request, removed_events(here.settings, link_id), None, lambda: lambda _: None)
    link, export = followed(here.settings, here.ledger, link_id, now)
    manifest_url = signed.url(link, MANIFEST)

    def logged() -> Ended:
        return _logged(here, link_id, name)

    with answering():
        stored = one_object(export, name)
        if stored is None or here.settings.s3_downloads == "api":
            return file_answer(request, assembled(export, name), manifest_url, logged)
        location = Presigner(here.settings).url(stored, saved_as(export, name), request.method)
        return redirection(request, location, manifest_url, stored_bytes(export, stored), logged)


@router.head("/{linkId}/{name:path}", summary="What a download would be", responses=documents.downloads())
def head(
    request: Request, link_id: Link, name: Name, expires: Expires = "", signature: Signature = ""
) -> Response:
    """The same headers without the bytes."""
    return download(request, link_id, name, expires, signature)


def _logged(here: Deployment, link_id: str, name: str) -> Ended:
    number = here.ledger.links.begin_download(link_id, name, utc_now())

    def ended(sent: int) -> None:
        here.metrics.downloaded(sent)
        here.ledger.links.end_download(number, sent)

    return ended
