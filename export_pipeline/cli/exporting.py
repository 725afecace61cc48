"""Commands that make export files and check them: ``export``, ``verify``."""

from collections.abc import Sequence
from pathlib import Path

import click

from export_pipeline.cli.jobs import queued_text
from export_pipeline.cli.output import Output, json_option, pass_output, steps, table
from export_pipeline.cli.stdin import lines_of_stdin, stdin_option
from export_pipeline.sizes import counted, size


@click.command()
@click.option("--start", metavar="DATE", help="First day, YYYY-MM-DD (UTC).")
@click.option("--end", metavar="DATE", help="Last day, at most 30 days later.")
@click.option(
    "--cursor",
    "cursors",
    multiple=True,
    help="Instead of --start and --end: an export's cursor, for the rows taken in since; can be repeated.",
)
@click.option(
    "--data-types",
    help="Of events, quality, ads; separated by commas.  [default: events, or those of the cursor]",
)
@click.option("--format", "format_", default="jsonl", show_default=True, help="jsonl or csv.")
@click.option("--compression", default="gzip", show_default=True, help="gzip or none.")
@click.option("--content-id", "content_ids", multiple=True, help="Only this video; can be repeated.")
@click.option("--user-id", "user_ids", multiple=True, help="Only this user; can be repeated.")
@stdin_option("Read user ids from standard input, one a line.")
@click.option("--event-type", "event_types", multiple=True, help="Only this event; can be repeated.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory to make; outside the state root.",
)
@click.option("--queue", is_flag=True, help="Instead of --out: queue a job, which `jobs show` follows.")
@click.option("--overwrite", is_flag=True, help="Replace what is in the directory.")
@json_option
@pass_output
def export(
    output: Output,
    start: str | None,
    end: str | None,
    cursors: Sequence[str],
    data_types: str | None,
    format_: str,
    compression: str,
    content_ids: Sequence[str],
    user_ids: Sequence[str],
    from_stdin: bool,
    event_types: Sequence[str],
    out: Path | None,
    queue: bool,
    overwrite: bool,
) -> None:
    """Export a range of days to a directory, read back and verified before it appears.

    With --cursor it is an increment: the rows of batches taken in since that export, whatever their day.
    With --queue it is made by the running deployment, like those that the API is asked for.
    """
    from export_pipeline.api.jobs import created
    from export_pipeline.days import utc_now
    from export_pipeline.exports import parse_request, write_export
    from export_pipeline.exports.service import request_export
    from export_pipeline.ingest import waiting_for
    from export_pipeline.ledger import Ledger
    from export_pipeline.settings import load
    from export_pipeline.store import Store

    if queue and (out or overwrite):
        raise click.UsageError("--queue excludes --out and --overwrite; its files are published by the job")
    if not queue and out is None:
        raise click.UsageError("Missing option '--out', or '--queue'.")
    dates = {"--start": start, "--end": end}
    for name, day in dates.items():
        if day is None and not cursors:
            raise click.UsageError(f"Missing option '{name}', or '--cursor'.")
        if day is not None and cursors:
            raise click.UsageError(f"--cursor excludes {name}; an increment has the days that were touched")
    settings = load()
    filters = {"contentIds": list(content_ids), "userIds": list(user_ids), "eventTypes": list(event_types)}
    given = {name for name, wanted in filters.items() if wanted}
    if from_stdin:
        # None at all is a filter that is refused, never an export of everybody.
        given.add("userIds")
        filters["userIds"] += lines_of_stdin()
    now = utc_now()
    values = {
        **({"cursor": list(cursors)} if cursors else {"startDate": start, "endDate": end}),
        **({} if data_types is None else {"dataTypes": [n.strip() for n in data_types.split(",")]}),
        "format": format_,
        "compression": compression,
        "filters": {name: wanted for name, wanted in filters.items() if name in given},
    }
    ledger = Ledger(settings)
    if out is None:
        job = request_export(settings, Store(settings), ledger, values, now=now, created_by="command")
        queued = created(job)
        output.show(queued, lambda: queued_text(queued))
        return
    request = parse_request(values, now=now, settings=settings)
    with output.progress("export", "rows") as progress:
        manifest = write_export(
            request,
            out,
            settings=settings,
            store=Store(settings),
            ledger=ledger,
            waiting=waiting_for(settings, ledger),
            overwrite=overwrite,
            progress=steps(progress),
            now=now,
        )
    document = manifest.to_json()
    output.show(
        document,
        lambda: table(
            ["file", "rows", "size", "sha256"],
            [[f["name"], f["rows"], size(f["bytes"]), f["sha256"]] for f in document["files"]],
        ),
    )


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="For a downloaded file: its manifest.  [default: manifest.json beside it]",
)
@json_option
@pass_output
def verify(output: Output, path: Path, manifest: Path | None) -> int:
    """Check an export, or every export below a folder, or a downloaded file, against its manifest.

    The reader is not the writer: other code, other libraries. Exit code 1 if anything is wrong.
    """
    from export_pipeline.delivery.checking import verify_file
    from export_pipeline.exports import verify as run

    if manifest is not None and path.is_dir():
        raise click.UsageError("--manifest is for a downloaded file; an export's directory holds its own")
    with output.progress("verify", "B") as progress:
        report = run(path, progress) if path.is_dir() else verify_file(path, manifest, progress)

    def text() -> str:
        verdict = (
            counted(report.exports, "export") + " verified"
            if report.ok
            else counted(len(report.problems), "problem")
        )
        return "\n".join([*report.problems, verdict])

    output.show({"ok": report.ok, "problems": list(report.problems)}, text)
    return 0 if report.ok else 1


COMMANDS = (export, verify)
