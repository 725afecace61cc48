"""Commands over webhooks: endpoints, and the deliveries to them and by e-mail."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from export_pipeline.cli.output import Output, json_option, pass_output, table

if TYPE_CHECKING:
    from export_pipeline.ledger import Ledger
    from export_pipeline.ledger.webhooks import Webhook
    from export_pipeline.settings import Settings

_limit = click.option("--limit", type=int, default=20, show_default=True, help="Entries at most, up to 100.")
_cursor = click.option("--cursor", help="Go on after a page: its nextCursor.")
_webhook = click.argument("webhook_id", metavar="WEBHOOK")
_EVENTS = "export.ready, export.failed, export.restated, user.erased"


@click.group()
def webhooks() -> None:
    """Tell other systems of exports: endpoints, and what was sent to them."""


@webhooks.command("list")
@_limit
@_cursor
@json_option
@pass_output
def list_(output: Output, limit: int, cursor: str | None) -> None:
    """List endpoints, newest first."""
    from export_pipeline.api.deliveries import endpoints

    _, ledger = _here()
    found, following, total = ledger.webhooks.list(limit=limit, cursor=cursor)
    documents = endpoints(ledger, found)
    output.show(
        {"webhooks": documents, "total": total, "nextCursor": following},
        lambda: _list_text(documents, total, following),
    )


def _list_text(documents: list[dict[str, Any]], total: int, following: str | None) -> str:
    if not documents:
        return "no webhooks"
    lines = table(
        ["webhook", "status", "url", "events", "delivered", "failed", "last"],
        [
            [
                webhook["id"],
                webhook["status"],
                webhook["url"],
                ", ".join(webhook["events"]),
                webhook["stats"]["successfulDeliveries"],
                webhook["stats"]["failedDeliveries"],
                webhook["stats"]["lastDeliveryAt"] or "-",
            ]
            for webhook in documents
        ],
    )
    return f"{lines}\n{len(documents)} of {total} webhooks{_more(following)}"


@webhooks.command()
@click.argument("url")
@click.option(
    "--event",
    "events",
    multiple=True,
    default=["export.ready"],
    show_default=True,
    help=f"What to tell it of: {_EVENTS}; can be repeated.",
)
@click.option("--description", default="", help="Whose it is, for the list.")
@json_option
@pass_output
def create(output: Output, url: str, events: Sequence[str], description: str) -> None:
    """Make an endpoint and show the secret that signs what is sent there, this once."""
    from export_pipeline.days import utc_now
    from export_pipeline.delivery import endpoints

    settings, ledger = _here()
    values = {"url": url, "events": list(events), "description": description}
    webhook, secret = endpoints.create(settings, ledger, values, utc_now())
    output.show(
        {"id": webhook.id, "secret": secret},
        f"{secret}\n{webhook.id}: {', '.join(webhook.events)}. Keep the secret; it is not shown again.",
    )


@webhooks.command()
@_webhook
@json_option
@pass_output
def show(output: Output, webhook_id: str) -> None:
    """Show an endpoint, and how deliveries to it went."""
    _, ledger = _here()
    _show(output, ledger, ledger.webhooks.get(webhook_id))


@webhooks.command()
@_webhook
@click.option("--url", help="Where to send from now on.")
@click.option("--event", "events", multiple=True, help=f"What to tell it of instead: {_EVENTS}.")
@click.option("--description", help="Whose it is.")
@click.option("--status", help="active, or disabled: nothing is sent, and what waits has failed.")
@json_option
@pass_output
def update(
    output: Output,
    webhook_id: str,
    url: str | None,
    events: Sequence[str],
    description: str | None,
    status: str | None,
) -> None:
    """Change an endpoint."""
    from export_pipeline.days import utc_now
    from export_pipeline.delivery import endpoints

    settings, ledger = _here()
    given = {"url": url, "events": list(events) or None, "description": description, "status": status}
    values = {name: value for name, value in given.items() if value is not None}
    if not values:
        raise click.UsageError("nothing to change is given; see --help")
    _show(output, ledger, endpoints.change(settings, ledger, webhook_id, values, utc_now()))


@webhooks.command()
@_webhook
@json_option
@pass_output
def delete(output: Output, webhook_id: str) -> None:
    """Remove an endpoint and the log of its deliveries; what waits is not sent."""
    _, ledger = _here()
    ledger.webhooks.remove(webhook_id)
    output.show({"id": webhook_id, "deleted": True}, f"{webhook_id} is removed")


@webhooks.command("rotate-secret")
@_webhook
@json_option
@pass_output
def rotate_secret(output: Output, webhook_id: str) -> None:
    """Make a new secret and show it, this once; the one before is in force for another hour."""
    from export_pipeline.days import utc_now
    from export_pipeline.exports.manifest import instant_text

    _, ledger = _here()
    secret, until = ledger.webhooks.rotate(webhook_id, utc_now())
    output.show(
        {"id": webhook_id, "secret": secret, "previousSecretExpiresAt": instant_text(until)},
        f"{secret}\nUntil {instant_text(until)} the secret before is in force too.",
    )


@webhooks.command()
@_webhook
@click.option("--event", default="export.ready", show_default=True, help=f"One of {_EVENTS}.")
@json_option
@pass_output
def test(output: Output, webhook_id: str, event: str) -> None:
    """Send a test event to an endpoint now, and show what it answered; exit 1 if it did not take it."""
    from export_pipeline.api.deliveries import tested
    from export_pipeline.delivery.endpoints import check_event
    from export_pipeline.delivery.outbox import Courier

    settings, ledger = _here()
    document = tested(ledger, Courier(settings, ledger).test(webhook_id, check_event(event)))
    answered = document["error"] or f"answered {document['statusCode']}"
    output.show(document, f"{document['status']}: {answered} in {document['responseTime']} ms")
    if document["status"] != "success":
        raise click.ClickException(f"{webhook_id} did not take the message: {answered}")


@webhooks.command()
@click.argument("webhook_id", metavar="[WEBHOOK]", required=False)
@_limit
@click.option("--status", help="Only pending, success or failed ones.")
@_cursor
@json_option
@pass_output
def deliveries(
    output: Output, webhook_id: str | None, limit: int, status: str | None, cursor: str | None
) -> None:
    """List deliveries, newest first: to one endpoint, or all, those by e-mail too."""
    from export_pipeline.api import deliveries as documents
    from export_pipeline.days import utc_now

    settings, ledger = _here()
    found, following, total = ledger.messages.list(webhook_id, limit=limit, status=status, cursor=cursor)
    listed = [
        {**document, "webhookId": message.webhook_id}
        for document, message in zip(
            documents.deliveries(settings, ledger, found, utc_now()), found, strict=True
        )
    ]
    output.show(
        {"deliveries": listed, "total": total, "nextCursor": following},
        lambda: _deliveries_text(listed, total, following),
    )


def _deliveries_text(listed: list[dict[str, Any]], total: int, following: str | None) -> str:
    if not listed:
        return "no deliveries"
    lines = table(
        ["delivery", "to", "event", "status", "attempts", "last attempt", "next attempt", "last error"],
        [
            [
                delivery["id"],
                delivery["webhookId"] or "e-mail",
                delivery["event"],
                delivery["status"],
                delivery["attempts"],
                delivery["lastAttemptAt"] or "-",
                delivery["nextAttemptAt"] or "-",
                delivery["lastError"] or "-",
            ]
            for delivery in listed
        ],
    )
    return f"{lines}\n{len(listed)} of {total} deliveries{_more(following)}"


@webhooks.command()
@click.argument("delivery_id", metavar="DELIVERY")
@json_option
@pass_output
def retry(output: Output, delivery_id: str) -> None:
    """Send a delivery again now, by webhook or e-mail, whatever became of it before."""
    from export_pipeline.api.deliveries import retried
    from export_pipeline.days import utc_now

    _, ledger = _here()
    document = retried(ledger.messages.retry(delivery_id, utc_now()))
    output.show(document, f"{delivery_id} is due now, after {document['attempts']} attempts")


def _here() -> "tuple[Settings, Ledger]":
    from export_pipeline.ledger import Ledger
    from export_pipeline.settings import load

    settings = load()
    return settings, Ledger(settings)


def _show(output: Output, ledger: "Ledger", webhook: "Webhook") -> None:
    from export_pipeline.api.deliveries import endpoints

    (document,) = endpoints(ledger, [webhook])
    output.show(document, lambda: _text(document))


def _text(document: dict[str, Any]) -> str:
    flat = {name: value for name, value in document.items() if name not in ("stats", "webhookId")}
    flat |= document["stats"]
    return "\n".join(
        f"{name}: {', '.join(value) if isinstance(value, list) else '-' if value is None else value}"
        for name, value in flat.items()
    )


def _more(following: str | None) -> str:
    return f"; go on with --cursor {following}" if following else ""


COMMANDS = (webhooks,)
