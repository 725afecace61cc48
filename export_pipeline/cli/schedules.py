"""Commands over scheduled exports."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from export_pipeline.cli.output import Output, json_option, pass_output, table
from export_pipeline.cli.stdin import lines_of_stdin, stdin_option

if TYPE_CHECKING:
    from export_pipeline.ledger import Ledger
    from export_pipeline.ledger.schedules import Schedule
    from export_pipeline.settings import Settings

_schedule = click.argument("schedule_id", metavar="SCHEDULE")


def _options(command: Any) -> Any:
    """What a schedule can be given."""
    options = (
        click.option("--data-types", help="Of events, quality, ads; separated by commas.  [default: events]"),
        click.option("--format", "format_", help="jsonl or csv.  [default: jsonl]"),
        click.option("--compression", help="gzip or none.  [default: gzip]"),
        click.option("--content-id", "content_ids", multiple=True, help="Only this video; can be repeated."),
        click.option("--user-id", "user_ids", multiple=True, help="Only this user; can be repeated."),
        stdin_option("Read user ids from standard input."),
        click.option("--event-type", "event_types", multiple=True, help="Only this event; can be repeated."),
        click.option("--webhook", help="Deliver to this endpoint (whk_…)."),
        click.option("--url", help="Deliver to an endpoint that is made for this URL; shows its secret."),
        click.option("--email", help="Deliver a link to this address."),
        click.option("--mode", help="full, or incremental: what came since the delivery before."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def schedules() -> None:
    """Exports that are made and delivered every day or week."""


@schedules.command("list")
@click.option("--limit", type=int, default=20, show_default=True, help="Entries at most, up to 100.")
@click.option("--cursor", help="Go on after a page: its nextCursor.")
@json_option
@pass_output
def list_(output: Output, limit: int, cursor: str | None) -> None:
    """List scheduled exports, newest first."""
    from export_pipeline.api.recurring import shown
    from export_pipeline.days import utc_now

    settings, ledger = _here()
    found, following, total = ledger.schedules.list(limit=limit, cursor=cursor)
    documents = shown(settings, ledger, found, utc_now())
    output.show(
        {"schedules": documents, "total": total, "nextCursor": following},
        lambda: _list_text(documents, total, following),
    )


def _list_text(documents: list[dict[str, Any]], total: int, following: str | None) -> str:
    if not documents:
        return "no schedules"
    lines = table(
        ["schedule", "frequency", "of", "format", "to", "state", "next", "last export"],
        [
            [
                document["id"],
                document["frequency"],
                ", ".join(document["dataTypes"]),
                document["format"],
                next(iter(document["delivery"].values())),
                "enabled" if document["enabled"] else "disabled",
                document["nextRunAt"] or "-",
                document["lastExportId"] or "-",
            ]
            for document in documents
        ],
    )
    more = f"; go on with --cursor {following}" if following else ""
    return f"{lines}\n{len(documents)} of {total} schedules{more}"


@schedules.command()
@click.option("--frequency", required=True, help="daily, or weekly on Monday.")
@_options
@click.option("--disabled", is_flag=True, help="Make it, and enable it later.")
@json_option
@pass_output
def create(output: Output, /, frequency: str, disabled: bool, **given: Any) -> None:
    """Schedule an export, to be delivered to one of --webhook, --url and --email.

    The last delivery whose day has come is the first that is made.
    """
    from export_pipeline.days import utc_now
    from export_pipeline.delivery import recurring

    settings, ledger = _here()
    values = {"frequency": frequency, "enabled": not disabled, **_values(given)}
    schedule, secret = recurring.create(settings, ledger, values, utc_now(), created_by="command")
    _show(output, settings, ledger, schedule, secret)


@schedules.command()
@_schedule
@json_option
@pass_output
def show(output: Output, schedule_id: str) -> None:
    """Show a scheduled export, its newest export, and when the next is due."""
    settings, ledger = _here()
    _show(output, settings, ledger, ledger.schedules.get(schedule_id))


@schedules.command()
@_schedule
@click.option("--frequency", help="daily, or weekly on Monday.")
@_options
@click.option("--enable/--disable", "enabled", default=None, help="Deliver, or deliver nothing.")
@json_option
@pass_output
def update(
    output: Output, /, schedule_id: str, frequency: str | None, enabled: bool | None, **given: Any
) -> None:
    """Change a scheduled export; filters are replaced as a whole.

    One that is enabled again delivers what it missed, as far as events are kept.
    """
    from export_pipeline.days import utc_now
    from export_pipeline.delivery import recurring

    own = {"frequency": frequency, "enabled": enabled}
    values = {**{name: value for name, value in own.items() if value is not None}, **_values(given)}
    if not values:
        raise click.UsageError("nothing to change is given; see --help")
    settings, ledger = _here()
    schedule, secret = recurring.change(settings, ledger, schedule_id, values, utc_now())
    _show(output, settings, ledger, schedule, secret)


@schedules.command()
@_schedule
@json_option
@pass_output
def delete(output: Output, schedule_id: str) -> None:
    """Remove a scheduled export and cancel what is being made for it; exports it made stay."""
    from export_pipeline.days import utc_now

    _, ledger = _here()
    ledger.schedules.remove(schedule_id, utc_now())
    output.show({"id": schedule_id, "deleted": True}, f"{schedule_id} is removed")


@schedules.command()
@_schedule
@json_option
@pass_output
def run(output: Output, schedule_id: str) -> None:
    """Make and deliver the export of the last day or week now; made before, it is made again."""
    from export_pipeline.days import utc_now
    from export_pipeline.exports.scheduled import run_now
    from export_pipeline.ingest import waiting_for
    from export_pipeline.store import Store

    settings, ledger = _here()
    job = run_now(
        settings,
        Store(settings),
        ledger,
        schedule_id,
        utc_now(),
        waiting_for(settings, ledger),
    )
    document = {"id": schedule_id, "exportId": job.id, "status": job.state}
    output.show(document, f"{job.id} is {job.state}; `jobs show` follows it")


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the options of ``_options`` say, keyed as in the REST body."""
    values: dict[str, Any] = {
        name: given[option]
        for option, name in (("format_", "format"), ("compression", "compression"), ("mode", "mode"))
        if given[option] is not None
    }
    if given["data_types"] is not None:
        values["dataTypes"] = [name.strip() for name in given["data_types"].split(",")]
    filters: dict[str, Sequence[str]] = {
        name: list(given[option])
        for option, name in (
            ("content_ids", "contentIds"),
            ("user_ids", "userIds"),
            ("event_types", "eventTypes"),
        )
        if given[option]
    }
    if given["from_stdin"]:
        # None at all is a filter that is refused, never a feed of everybody.
        filters["userIds"] = [*filters.get("userIds", ()), *lines_of_stdin()]
    if filters:
        values["filters"] = filters
    recipients = {"webhookId": given["webhook"], "url": given["url"], "email": given["email"]}
    if wanted := {name: who for name, who in recipients.items() if who is not None}:
        if len(wanted) > 1:
            raise click.UsageError("give one of --webhook, --url and --email")
        values["delivery"] = wanted
    return values


def _here() -> "tuple[Settings, Ledger]":
    from export_pipeline.ledger import Ledger
    from export_pipeline.settings import load

    settings = load()
    return settings, Ledger(settings)


def _show(
    output: Output, settings: "Settings", ledger: "Ledger", schedule: "Schedule", secret: str | None = None
) -> None:
    from export_pipeline.api.recurring import shown
    from export_pipeline.days import utc_now

    (document,) = shown(settings, ledger, [schedule], utc_now())
    if secret is not None:
        document["secret"] = secret
    output.show(document, lambda: _text(document))


def _text(document: dict[str, Any]) -> str:
    flat: dict[str, Any] = {}
    for name, value in document.items():
        inner = value.items() if isinstance(value, dict) else ()
        flat |= {f"{name}.{of}": what for of, what in inner} if inner else {name: value}
    return "\n".join(f"{name}: {_cell(value)}" for name, value in flat.items())


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


COMMANDS = (schedules,)
