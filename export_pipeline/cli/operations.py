"""Commands for who operates it: ``status``, ``settings``."""

from typing import TYPE_CHECKING

import click

from export_pipeline.cli.output import Output, json_option, pass_output, table
from export_pipeline.sizes import size

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
    due = [f"{count} files wait in landing/{target}" for target, count in found.landing.items() if count]
    due += [f"{day}: {', '.join(names)} can be exported" for day, names in found.due.ready.items()]
    due += [f"{day}: {', '.join(names)} not closed yet" for day, names in found.due.waiting.items()]
    due += [f"{day}: {name} changed since its {format_} export" for name, format_, day in found.outdated]
    broken = [alert.message for alert in found.broken]
    return "\n\n".join([stored, exports, _listed("due", due), _listed("broken", broken)])


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


COMMANDS = (status, settings)
