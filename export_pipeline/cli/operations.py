"""Commands for who operates it: ``status``, ``settings``."""

import click

from export_pipeline.cli.output import Output, json_option, pass_output, table


@click.command()
@json_option
@pass_output
def status(output: Output) -> None:
    """Show what is stored, what is due, and what is broken now."""
    from export_pipeline.days import utc_now
    from export_pipeline.ledger import Ledger
    from export_pipeline.settings import load
    from export_pipeline.status import report
    from export_pipeline.store import Store

    settings = load()
    found = report(settings, Store(settings), Ledger(settings), utc_now())
    output.show(found.to_json(), found.to_text)


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
