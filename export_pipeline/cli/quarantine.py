"""Commands over rejected lines: ``quarantine list``, ``show``, ``replay``."""

from typing import Any

import click

from export_pipeline.cli.data import counts_table
from export_pipeline.cli.output import Output, json_option, pass_output, steps, table


@click.group()
def quarantine() -> None:
    """Look at rejected lines, and take them again after a fix."""


@quarantine.command("list")
@json_option
@pass_output
def list_(output: Output) -> None:
    """List the batches that have rejected lines, with the reasons."""
    from export_pipeline.ingest import list_quarantined
    from export_pipeline.settings import load

    found = [
        {
            "batchId": entry.batch_id,
            "target": entry.target,
            "date": str(entry.day),
            "lines": entry.lines,
            "reasons": dict(entry.reasons),
        }
        for entry in list_quarantined(load())
    ]
    output.show({"quarantine": found}, lambda: _list_text(found))


def _list_text(found: list[dict[str, Any]]) -> str:
    if not found:
        return "nothing is in quarantine"
    return table(
        ["batch", "landing", "day", "lines", "reasons"],
        [
            [
                entry["batchId"],
                entry["target"],
                entry["date"],
                entry["lines"],
                ", ".join(f"{reason} {count:,}" for reason, count in entry["reasons"].items()),
            ]
            for entry in found
        ],
    )


@quarantine.command()
@click.argument("batch", metavar="BATCH")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    help="Lines to show at most.",
)
@json_option
@pass_output
def show(output: Output, batch: str, limit: int) -> None:
    """Show rejected lines of a batch with the reason for each.

    They are shown as they landed, user ids and all.
    """
    from export_pipeline.ingest import show as lines_of
    from export_pipeline.settings import load

    lines = [
        {name: line[name] for name in ("file", "line", "reason", "field", "detail", "raw")}
        for line in lines_of(load(), batch, limit)
    ]
    output.show(
        {"lines": lines},
        lambda: "\n".join(
            f"{line['file']}:{line['line']}: {line['reason']}: {line['detail']}\n    {line['raw']}"
            for line in lines
        ),
    )


@quarantine.command()
@click.argument("batch", metavar="[BATCH]", required=False)
@json_option
@pass_output
def replay(output: Output, batch: str | None) -> None:
    """Take rejected lines again, of one batch or of all.

    Lines that are accepted now leave the quarantine; the others stay.
    """
    from export_pipeline.ingest import replay as take_again
    from export_pipeline.ledger import Ledger
    from export_pipeline.settings import load
    from export_pipeline.store import Store

    settings = load()
    store, ledger = Store(settings), Ledger(settings)
    with output.progress("replay", "B") as progress:
        document = take_again(settings, store, ledger, batch, read=steps(progress)).to_json()
    output.show(document, lambda: counts_table(document))


COMMANDS = (quarantine,)
