"""Commands that bring events in and look at them: ``sample``, ``ingest``, ``query``."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from export_pipeline.cli.output import Output, json_option, pass_output, steps, table


@click.command()
@click.option(
    "--to",
    "to",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Directory to write to, such as the landing directory.",
)
@click.option("--days", type=int, default=7, show_default=True, help="Days to make.")
@click.option("--end", metavar="DATE", help="Last day, YYYY-MM-DD.  [default: yesterday, UTC]")
@click.option(
    "--rows-per-day",
    type=int,
    default=20_000,
    show_default=True,
    help="Rows of all types a day, about.",
)
@click.option("--users", type=int, default=500, show_default=True, help="Users to make.")
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same bytes.")
@json_option
@pass_output
def sample(
    output: Output, to: Path, days: int, end: str | None, rows_per_day: int, users: int, seed: int
) -> None:
    """Write realistic landing batches as JSON Lines; the same arguments give the same bytes."""
    from export_pipeline.days import parse_day, utc_now
    from export_pipeline.events.sample import write_sample

    last = parse_day(end, "--end") if end else utc_now().date() - timedelta(days=1)
    with output.progress("sample", "rows") as progress:
        written = write_sample(to, days, last, rows_per_day, users, seed, steps(progress))
    output.show(
        {"landing": written},
        lambda: table(
            ["landing", "files", "lines"],
            [[target, counts["files"], counts["lines"]] for target, counts in written.items()],
        ),
    )


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[PATH]...")
@click.option(
    "--duckdb",
    "database",
    type=click.Path(path_type=Path),
    help="Take what is new in this DuckDB database with tables like ours.",
)
@json_option
@pass_output
def ingest(output: Output, paths: Sequence[Path], database: Path | None) -> None:
    """Take in the landing directory, or the files given, or what is new in a DuckDB database.

    Files of the landing directory are removed once they are stored; files given as PATH are kept. A path
    tells its kind of data by the folder it is in: events, quality, ads, users/profiles, users/devices or
    users/experiments.
    """
    from export_pipeline.ingest import ingest_database, ingest_landing, ingest_paths
    from export_pipeline.ledger import Ledger
    from export_pipeline.settings import load
    from export_pipeline.store import Store

    if paths and database:
        raise click.UsageError("PATH and --duckdb exclude each other; give one of them")
    settings = load()
    store, ledger = Store(settings), Ledger(settings)
    with output.progress("ingest", "B") as progress:
        if database:
            report = ingest_database(settings, store, ledger, database, read=steps(progress))
        elif paths:
            report = ingest_paths(settings, store, ledger, paths, progress=progress)
        else:
            report = ingest_landing(settings, store, ledger, progress=progress)
    document = report.to_json()
    output.show(document, lambda: counts_table(document))


def counts_table(document: dict[str, Any]) -> str:
    """What an ingest counted, as a table; ``document`` is its JSON."""
    counts = {**document["dataTypes"], **{f"users/{name}": c for name, c in document["users"].items()}}
    columns = ["received", "accepted", "rejected", "duplicate", "suppressed"]
    return table(["landing", *columns], [[name, *(c[key] for key in columns)] for name, c in counts.items()])


@click.command()
@click.argument("sql")
@json_option
@pass_output
def query(output: Output, sql: str) -> None:
    """Run one read-only SQL statement (DuckDB) over the store; each table is a view.

    Views: engagement_events, quality_events, ad_events, user_profiles, device_links,
    experiment_assignments, daily_metrics. Instants are UTC.
    """
    from export_pipeline.settings import load
    from export_pipeline.store import Store, views

    settings = load()
    result = views.query(settings, Store(settings), sql)
    if output.as_json:
        output.show(views.records(result), "")
    else:
        click.echo(views.text(result))


COMMANDS = (sample, ingest, query)
