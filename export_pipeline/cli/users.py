"""Commands about one person: ``users export``; those that erase and prove it are in ``erasing`` and
``proving``."""

from pathlib import Path

import click

from export_pipeline.cli import erasing, proving
from export_pipeline.cli.output import Output, json_option, pass_output
from export_pipeline.cli.stdin import lines_of_stdin, stdin_option


@click.group()
def users() -> None:
    """Answer one person: what is held of them, and that it is erased."""


@users.command()
@click.argument("user", required=False)
@stdin_option("Read the id from standard input instead.")
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for the archive; outside the state root.",
)
@json_option
@pass_output
def export(output: Output, user: str | None, from_stdin: bool, out: Path) -> None:
    """Put all that is held of USER into one archive, DIR/<job id>.zip, with a page to read.

    USER is a user id or an anonymous id. Others can see a command's arguments; not with --stdin.
    """
    from export_pipeline.exports.outside import outside_root
    from export_pipeline.ingest import waiting_for
    from export_pipeline.ledger import Ledger
    from export_pipeline.privacy.access import Access
    from export_pipeline.privacy.handing import hand_over
    from export_pipeline.settings import load
    from export_pipeline.store import Store

    user_id = _one(user, from_stdin)
    settings = load()
    outside_root(out, settings)
    ledger = Ledger(settings)
    access = Access(settings, Store(settings), ledger, waiting=waiting_for(settings, ledger))
    with output.progress("export", "rows") as progress:
        job = access.make(user_id, "command", progress)
    path = hand_over(settings, job, out)
    document = {"jobId": job.id, "path": str(path), "rows": job.rows, "withheld": job.withheld}
    output.show(document, f"{path}: {job.rows:,} rows, {job.withheld:,} withheld")


def _one(user: str | None, from_stdin: bool) -> str:
    if (user is None) == (not from_stdin):
        raise click.UsageError("Give USER, or --stdin to read it from standard input; one of both.")
    if user is not None:
        return user
    given = lines_of_stdin()
    if len(given) != 1:
        raise click.UsageError(f"There are {len(given)} ids on standard input; there must be one.")
    return given[0]


for command in (*erasing.COMMANDS, *proving.COMMANDS):
    users.add_command(command)

COMMANDS = (users,)
