"""Commands around the API: ``serve``, ``portal``, ``keys``, ``download``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from export_pipeline.cli.output import Output, json_option, pass_output, table
from export_pipeline.sizes import size

if TYPE_CHECKING:
    from export_pipeline.delivery.fetching import Source
    from export_pipeline.ledger.keys import Key


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 for any that is free.",
)
@json_option
@pass_output
def serve(output: Output, host: str, port: int) -> None:
    """Serve the portal and the REST API until interrupted; /docs describes the API.

    Where no password of the portal is set, the address shown logs in whoever opens it first, within an hour.
    The access log goes to standard error.
    """
    from export_pipeline.api.app import create_app
    from export_pipeline.api.server import serve as run
    from export_pipeline.operations.bucket import tell_at_start
    from export_pipeline.portal import attach
    from export_pipeline.portal.entrance import entrance
    from export_pipeline.settings import load

    settings = load()
    tell_at_start(settings, lambda note: click.echo(f"Note: {note}", err=True))

    def ready(url: str) -> None:
        portal = entrance(settings, url)
        told = f"Open {portal}\nThe REST API is on the same port; /docs describes it."
        output.show({"url": url, "portal": portal}, told)

    run(attach(create_app(settings)), host, port, ready)


@click.group()
def portal() -> None:
    """Get into the portal that `serve` serves."""


@portal.command("link")
@json_option
@pass_output
def link_(output: Output) -> None:
    """Make a link that logs in whoever opens it first, within an hour."""
    from export_pipeline.days import utc_now
    from export_pipeline.delivery.links import DEFAULT_URL
    from export_pipeline.ledger import Ledger
    from export_pipeline.portal.entrance import link
    from export_pipeline.settings import load

    settings = load()
    url = link(Ledger(settings), settings.public_url or DEFAULT_URL, utc_now())
    output.show({"url": url}, url)


@portal.command("password")
@json_option
@pass_output
def password_(output: Output) -> None:
    """Show the password that was made, where none is set."""
    from export_pipeline.portal.passwords import made_password
    from export_pipeline.settings import load

    text = made_password(load())
    output.show({"password": text}, text)


@click.group()
def keys() -> None:
    """Make, list and revoke API keys."""


@keys.command()
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    help="What it may do: exports:read, exports:write, privacy, webhooks; can be repeated.",
)
@click.option("--name", default="", help="Whose it is, for the list.")
@json_option
@pass_output
def create(output: Output, scopes: Sequence[str], name: str) -> None:
    """Make a key and show it, this once."""
    from export_pipeline.days import utc_now
    from export_pipeline.ledger import Ledger
    from export_pipeline.settings import load

    key, text = Ledger(load()).keys.create(scopes, utc_now(), name)
    output.show(
        {"id": key.id, "key": text, "name": key.name, "scopes": list(key.scopes)},
        f"{text}\n{key.id}: {', '.join(key.scopes)}. Keep it; it is not shown again.",
    )


@keys.command("list")
@json_option
@pass_output
def list_(output: Output) -> None:
    """List the keys, revoked ones too; how each begins is shown, never more."""
    from export_pipeline.ledger import Ledger
    from export_pipeline.settings import load

    found = [_key(key) for key in Ledger(load()).keys.list()]
    output.show(
        {"keys": found},
        lambda: table(
            ["id", "begins with", "name", "scopes", "created", "last used", "revoked"],
            [
                [
                    *(k["id"], k["hint"], k["name"], ", ".join(k["scopes"]), k["createdAt"]),
                    *(k["lastUsedAt"] or "-", k["revokedAt"] or "-"),
                ]
                for k in found
            ],
        ),
    )


@keys.command()
@click.argument("key_id", metavar="ID")
@json_option
@pass_output
def revoke(output: Output, key_id: str) -> None:
    """Revoke a key at once and for ever."""
    from export_pipeline.days import utc_now
    from export_pipeline.ledger import Ledger
    from export_pipeline.settings import load

    key = Ledger(load()).keys.revoke(key_id, utc_now())
    output.show(_key(key), f"{key.id} is revoked")


def _key(key: "Key") -> dict[str, Any]:
    from export_pipeline.exports.manifest import instant_text

    return {
        "id": key.id,
        "hint": key.hint,
        "name": key.name,
        "scopes": list(key.scopes),
        "createdAt": instant_text(key.created_at),
        "lastUsedAt": None if key.last_used_at is None else instant_text(key.last_used_at),
        "revokedAt": None if key.revoked_at is None else instant_text(key.revoked_at),
    }


@click.command()
@click.argument("what", metavar="JOB|URL")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path(),
    help="File or directory to write to.  [default: the current directory]",
)
@json_option
@pass_output
def download(output: Output, what: str, out: Path) -> None:
    """Fetch an export as one file: of a job here, or from the URL that its status shows.

    A download that was interrupted goes on where it stopped; the file appears once its checksums are
    right.
    """
    from export_pipeline.delivery.fetching import fetch

    source = _source(what)
    with output.progress("download", "B") as progress:
        fetched = fetch(source, out, progress)
    document = {
        "path": str(fetched.path),
        "bytes": fetched.bytes,
        "resumedFrom": fetched.resumed_from,
        "checked": fetched.checked,
    }
    verdict = "checksums are right" if fetched.checked else "the server gave no checksum to check"
    output.show(document, f"{fetched.path}: {size(fetched.bytes)}, {verdict}")


def _source(what: str) -> "Source":
    from export_pipeline.days import utc_now
    from export_pipeline.delivery.published import published
    from export_pipeline.delivery.sources import LocalSource, UrlSource
    from export_pipeline.ledger import Ledger
    from export_pipeline.settings import load

    if "://" in what:
        return UrlSource(what)
    settings = load()
    return LocalSource(published(settings, Ledger(settings).jobs.get(what, utc_now())))


COMMANDS = (serve, portal, keys, download)
