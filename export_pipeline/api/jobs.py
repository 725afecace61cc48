"""Jobs and their exports as JSON, one function for each call that shows them (contract, section 4)."""

from typing import Any

from export_pipeline.delivery.links import Urls
from export_pipeline.delivery.payloads import linked
from export_pipeline.delivery.published import Published
from export_pipeline.exports.manifest import FULL, INCREMENTAL, instant_text
from export_pipeline.ledger import Job
from export_pipeline.ledger.jobs import FAILED, QUEUED
from export_pipeline.sizes import size


def created(job: Job) -> dict[str, Any]:
    """What is told of a job when it was created; the same whatever became of it since."""
    return {
        "jobId": job.id,
        "status": QUEUED,
        "estimatedSize": size(job.estimated_bytes),
        "estimatedRowCount": job.estimated_rows,
        "estimatedCompletion": instant_text(job.estimated_completion),
        "createdAt": instant_text(job.created_at),
    }


def shown(job: Job) -> dict[str, Any]:
    """The status of a job; of a complete one, what ``completed`` says comes on top."""
    document: dict[str, Any] = {
        "jobId": job.id,
        "status": job.state,
        **_request(job),
        "mode": INCREMENTAL if job.request.get("since") else FULL,
        "createdAt": instant_text(job.created_at),
        "progress": job.progress,
        "processedRows": job.processed_rows,
        "estimatedRowCount": job.estimated_rows,
    }
    if job.state == QUEUED or job.completed_at is None:
        document["estimatedCompletion"] = instant_text(job.estimated_completion)
    if job.completed_at is not None:
        document["completedAt"] = instant_text(job.completed_at)
        document["rowCount"] = job.rows
        document["bytes"] = job.bytes
        document["fileSize"] = size(job.bytes or 0)
    if job.withheld is not None:
        document["withheld"] = job.withheld
    if job.expires_at is not None:
        document["expiresAt"] = instant_text(job.expires_at)
    if job.state == FAILED:
        document["error"] = {"code": job.error_code, "message": job.error_message}
    return document


def completed(export: Published, urls: Urls) -> dict[str, Any]:
    """What the status of a complete job says beside ``shown``: where its files are."""
    return {**linked(export, urls), "cursor": export.manifest.to_json()["cursor"]}


def listed(job: Job) -> dict[str, Any]:
    """A job in the list of jobs."""
    request = _request(job)
    return {
        "jobId": job.id,
        "status": job.state,
        "dateRange": request["dateRange"],
        "format": request["format"],
        "fileSize": None if job.bytes is None else size(job.bytes),
        "createdAt": instant_text(job.created_at),
        "completedAt": None if job.completed_at is None else instant_text(job.completed_at),
    }


def _request(job: Job) -> dict[str, Any]:
    return {key: job.request[key] for key in ("dateRange", "dataTypes", "format", "compression", "filters")}
