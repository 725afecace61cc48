"""Commands over export jobs: ``jobs list``, ``show``, ``links``, ``cancel``."""

from typing import TYPE_CHECKING, Any

import click

from export_pipeline.cli.output import Output, json_option, pass_output, table
from export_pipeline.sizes import counted

if TYPE_CHECKING:
    from export_pipeline.ledger import Job, Ledger
    from export_pipeline.settings import Settings


@click.group()
def jobs() -> None:
    """Look at exports that were asked for, hand out links to their files, cancel them."""


@jobs.command("list")
@click.option("--limit", type=int, default=20, show_default=True, help="Jobs to list at most, up to 100.")
@click.option("--status", help="Only queued, processing, complete, failed, cancelled or expired ones.")
@click.option("--cursor", help="Go on after a page: its nextCursor.")
@json_option
@pass_output
def list_(output: Output, limit: int, status: str | None, cursor: str | None) -> None:
    """List jobs, newest first."""
    from export_pipeline.api.jobs import listed
    from export_pipeline.days import utc_now
    from export_pipeline.ledger import Ledger
    from export_pipeline.settings import load

    found, following, total = Ledger(load()).jobs.list(utc_now(), limit=limit, status=status, cursor=cursor)
    documents = [listed(job) for job in found]
    output.show(
        {"jobs": documents, "total": total, "nextCursor": following},
        lambda: _list_text(documents, total, following),
    )


def _list_text(documents: list[dict[str, Any]], total: int, following: str | None) -> str:
    if not documents:
        return "no jobs"
    lines = table(
        ["job", "status", "first day", "last day", "format", "size", "asked for", "completed"],
        [
            [
                job["jobId"],
                job["status"],
                job["dateRange"]["start"],
                job["dateRange"]["end"],
                job["format"],
                job["fileSize"] or "-",
                job["createdAt"],
                job["completedAt"] or "-",
            ]
            for job in documents
        ],
    )
    more = f"; go on with --cursor {following}" if following else ""
    return f"{lines}\n{len(documents)} of {total} jobs{more}"


@jobs.command()
@click.argument("job_id", metavar="JOB")
@json_option
@pass_output
def show(output: Output, job_id: str) -> None:
    """Show what was asked for, how far it is, where its files are, and how often they were downloaded."""
    from export_pipeline.days import utc_now
    from export_pipeline.ledger import Ledger
    from export_pipeline.settings import load

    settings = load()
    ledger = Ledger(settings)
    document = _shown(settings, ledger, ledger.jobs.get(job_id, utc_now()))
    output.show(document, lambda: _text(document))


@jobs.command()
@click.argument("job_id", metavar="JOB")
@click.option("--revoke", is_flag=True, help="End every link to the job's files at once, and make none.")
@json_option
@pass_output
def links(output: Output, job_id: str, revoke: bool) -> None:
    """Make fresh signed URLs to the files of a complete job, or revoke all there are."""
    from export_pipeline.api.jobs import completed
    from export_pipeline.days import utc_now
    from export_pipeline.delivery.links import HmacSigner, new_link, urls
    from export_pipeline.delivery.published import published
    from export_pipeline.ledger import Ledger
    from export_pipeline.settings import load

    settings, now = load(), utc_now()
    ledger = Ledger(settings)
    job = ledger.jobs.get(job_id, now)
    if revoke:
        count = ledger.links.revoke(job.id, now)
        output.show({"jobId": job.id, "revoked": count}, f"{counted(count, 'link')} of {job.id} revoked")
        return
    export = published(settings, job)
    signer = HmacSigner(settings)
    document = {
        "jobId": job.id,
        **completed(export, urls(export, new_link(ledger, job, now), signer)),
    }
    output.show(
        document, lambda: "\n".join(f"{name}: {document[name]}" for name in document if name != "files")
    )


@jobs.command()
@click.argument("job_id", metavar="JOB")
@json_option
@pass_output
def cancel(output: Output, job_id: str) -> None:
    """Cancel a job that waits or is being worked on."""
    from export_pipeline.days import utc_now
    from export_pipeline.ledger import Ledger
    from export_pipeline.settings import load

    job = Ledger(load()).jobs.cancel(job_id, utc_now())
    output.show({"jobId": job.id, "status": job.state}, f"{job.id} is {job.state}")


def _shown(settings: "Settings", ledger: "Ledger", job: "Job") -> dict[str, Any]:
    from export_pipeline.api.jobs import shown
    from export_pipeline.exports.manifest import instant_text
    from export_pipeline.ledger.jobs import COMPLETE

    document = shown(job)
    if job.state == COMPLETE and job.path is not None:
        document["path"] = str(settings.exports / job.path)
    count, sent, last = ledger.links.downloads(job.id)
    document["downloads"] = {"count": count, "bytes": sent, "lastAt": last and instant_text(last)}
    return document


def _text(document: dict[str, Any]) -> str:
    lines = []
    for name, value in document.items():
        if isinstance(value, dict):
            lines += [f"{name}.{inner}: {_cell(of)}" for inner, of in value.items()]
        else:
            lines.append(f"{name}: {_cell(value)}")
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def queued_text(document: dict[str, Any]) -> str:
    """What is told a person whose export was queued; ``document`` is its JSON."""
    return (
        f"{document['jobId']} is queued: about {document['estimatedRowCount']:,} rows, "
        f"{document['estimatedSize']}, expected by {document['estimatedCompletion']}"
    )


COMMANDS = (jobs,)
