"""Whether the bucket that data is kept in can be worked with, by trying it, and what an operator has to know
of it: whether an erasure there is final, and how long the credentials last.
"""

import uuid
from collections.abc import Callable
from typing import Any

import botocore.session

from export_pipeline import buckets, objects
from export_pipeline.errors import ExportPipelineError, InvalidSetting
from export_pipeline.exports.manifest import instant_text
from export_pipeline.operations.alerts import Alert
from export_pipeline.outages import FIELD, answering
from export_pipeline.settings import Settings

KIND = "object store"
_RENEWED = "and is renewed"
_CONTENT = b"Written to see whether this can be written, read, listed and removed.\n"


def check_bucket(settings: Settings) -> None:
    """Write, read, list and remove an object where data is kept; nothing, if that is on this machine.

    Raises:
        InvalidSetting: if the bucket is not there, or the credentials may not do it.
        TransientError: if the store does not answer.
    """
    if not objects.is_remote(settings.data):
        return
    probe = settings.data / f".probe-{uuid.uuid4().hex}"
    with answering():
        list(buckets.listed(settings.data, deep=False))  # some stores make a bucket for what is written
        objects.write(probe, _CONTENT)
        try:
            with objects.reading(probe) as file:
                same = file.read() == _CONTENT
            found = {each.path for each in buckets.listed(settings.data, deep=False)}
        finally:
            objects.remove_file(probe)
        left = probe.exists()
    if not same or probe not in found or left:
        raise InvalidSetting(
            f"{FIELD}: what is written there is not read, listed or removed as it should be", field=FIELD
        )


def bucket_notes(settings: Settings) -> list[str]:
    """What an operator has to know of the bucket and the credentials, a sentence each.

    Raises:
        InvalidSetting, TransientError: see ``check_bucket``.
    """
    if not objects.is_remote(settings.data):
        return []
    with answering():
        notes = [
            f"erasures cannot be proven, as what is removed from the bucket is not gone: {reason}"
            for reason in buckets.keeps_removed(settings.data)
        ]
        if unknown := buckets.unanswered(settings.data):
            notes.append(
                f"the object store does not tell of the bucket's {', '.join(unknown)}; make sure that what "
                "is removed is not kept, or erasures are not final"
            )
        return [*notes, *_of_credentials(_credentials())]


def bucket_alerts(settings: Settings) -> list[Alert]:
    """What keeps the bucket from being worked with, or erasures from being proven."""
    try:
        check_bucket(settings)
        told = [note for note in bucket_notes(settings) if _RENEWED not in note]
    except ExportPipelineError as error:
        told = [error.message]
    return [Alert(KIND, text.partition(":")[0][:60], text) for text in told]


def tell_at_start(settings: Settings, tell: Callable[[str], object]) -> None:
    """Check the bucket before work begins, and tell what there is to know.

    Raises:
        InvalidSetting, TransientError: see ``check_bucket``.
    """
    check_bucket(settings)
    for note in bucket_notes(settings):
        tell(note)


def _credentials() -> Any:
    return botocore.session.Session().get_credentials()


def _of_credentials(found: Any) -> list[str]:
    if found is None or not found.get_frozen_credentials().token:
        return []
    ends = getattr(found, "_expiry_time", None)
    if ends is None:
        return ["the credentials are of a session and do not say when it ends: after that nothing works"]
    return [
        f"the credentials are of a session that ends at {instant_text(ends)} {_RENEWED}; links keep their "
        "7 days, as what they lead to is signed anew at each use"
    ]
