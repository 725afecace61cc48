"""Commands for who operates it: ``status``, ``retention``, ``settings``, ``database-url``."""

import sys
from typing import TYPE_CHECKING

import click

from export_pipeline.cli.output import Output, json_option, pass_output, table
from export_pipeline.sizes import counted, size

if TYPE_CHECKING:
    from datetime import datetime

    from export_pipeline.operations.status import Status


@click.command()
@json_option
@pass_output
def status(output: Output) -> None:
    """Show what is stored, what is due, and what is broken now."""
    from export_pipeline.days import utc_now
    from export_pipeline.ledger import Ledger
    from export_pipeline.operations import status as operations
    from export_pipeline.settings import load
    from export_pipeline.store import Store

    settings = load()
    found = operations.status(settings, Store(settings), Ledger(settings), utc_now())
    output.show(operations.to_json(found), lambda: _status_text(found))


def _status_text(found: "Status") -> str:
    stored = table(
        ["stored", "days", "first", "last", "rows", "size", "last batch"],
        [
            [
                s.data_type,
                s.days,
                s.first_day or "-",
                s.last_day or "-",
                s.rows,
                size(s.bytes),
                _at(s.last_batch_at),
            ]
            for s in found.stored
        ],
    )
    exports = table(
        ["daily exports", "format", "days", "rows", "size"],
        [[e.data_type, e.format, e.days, e.rows, size(e.bytes)] for e in found.exports],
    )
    due = [
        f"landing/{target}: {counted(count, 'file')} not taken in yet"
        for target, count in found.landing.items()
        if count
    ]
    due += [counted(found.deliveries, "message") + " to deliver"] if found.deliveries else []
    due += [f"{day}: {', '.join(names)} can be exported" for day, names in found.due.ready.items()]
    due += [f"{day}: {', '.join(names)} not closed yet" for day, names in found.due.waiting.items()]
    due += [f"{day}: {name} changed since its {format_} export" for name, format_, day in found.outdated]
    broken = [alert.message for alert in found.broken]
    return "\n\n".join([stored, exports, _listed("due", due), _listed("broken", broken)])


@click.command()
@click.option("--dry-run", is_flag=True, help="Change nothing; show what would be removed.")
@click.option(
    "--now",
    "instant",
    metavar="INSTANT",
    help="Remove what is past its time at this instant, such as 2026-11-23T04:00:00Z.  [default: now]",
)
@json_option
@pass_output
def retention(output: Output, dry_run: bool, instant: str | None) -> None:
    """Remove what is past its time: raw events, quarantine, metrics, export files and leftovers.

    The `retention` job does the same every day, and removes old runs of Dagster too.
    """
    from export_pipeline.days import parse_instant, utc_now
    from export_pipeline.ledger import Ledger
    from export_pipeline.retention import retain, rounds
    from export_pipeline.settings import load
    from export_pipeline.store import Store

    now = parse_instant(instant, "--now") if instant is not None else utc_now()
    settings = load()
    store, ledger = Store(settings), Ledger(settings)
    with output.progress("retention", "steps") as progress:
        removed = retain(settings, store, ledger, now, dry_run=dry_run, told=progress)
    output.show(
        rounds.to_json(removed),
        lambda: table(
            ["would be removed" if dry_run else "removed", "rows", "files", "size"],
            [[what, item.rows, item.files, size(item.bytes)] for what, item in removed.items()],
        ),
    )


def _listed(heading: str, lines: list[str]) -> str:
    return "\n".join([heading, "-" * len(heading), *(lines or ["nothing"])])


def _at(instant: "datetime | None") -> str:
    return f"{instant:%Y-%m-%d %H:%M}" if instant else "-"


@click.command()
@json_option
@pass_output
def settings(output: Output) -> None:
    """List every setting, its value and where it came from."""
    from export_pipeline.settings import describe, load

    described = describe(load())
    output.show(
        {"settings": described},
        lambda: table(
            ["variable", "value", "source", "meaning"],
            [[s["variable"], s["value"], s["source"], s["description"]] for s in described],
        ),
    )


@click.command("database-url")
@click.option("--host", default="localhost", show_default=True, help="Machine that PostgreSQL runs on.")
@click.option("--port", type=click.IntRange(1, 65535), default=5432, show_default=True, help="Its port.")
@click.option("--name", required=True, help="Name of the database.")
@click.option("--user", required=True, help="User it is logged in to with.")
@json_option
@pass_output
def database_url(output: Output, host: str, port: int, name: str, user: str) -> None:
    """Print the value of EXPORT_PIPELINE_DATABASE, whatever characters the password has.

    The password is asked for, or read as the first line of standard input; so it is on no command line.
    """
    from export_pipeline.database_url import composed

    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, err=True, default="", show_default=False)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    url = composed(host, port, name, user, password)
    output.show({"url": url}, url)


COMMANDS = (status, retention, settings, database_url)
