"""Commands that erase people and tell how far that is: ``users erase``, ``reapply`` and ``erasure``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from export_pipeline.cli.output import Output, json_option, pass_output
from export_pipeline.cli.stdin import lines_of_stdin, stdin_option

if TYPE_CHECKING:
    from export_pipeline.ledger import Erasure, Ledger
    from export_pipeline.settings import Settings
    from export_pipeline.store import Store


@click.command()
@click.argument("people", nargs=-1, metavar="USER...")
@stdin_option("Read ids from standard input too, one a line.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@json_option
@pass_output
def erase(output: Output, people: Sequence[str], from_stdin: bool, dry_run: bool) -> None:
    """Erase people for good: store, exports, archives, quarantine, ledger; search all; sign certificates.

    USER is a user id or an anonymous id. Others can see a command's arguments; --stdin keeps it out of them.
    """
    from export_pipeline.ledger import Ledger
    from export_pipeline.privacy.identity import checked_user_id
    from export_pipeline.settings import load
    from export_pipeline.store import Store

    given = [*people]
    if from_stdin:
        given += lines_of_stdin()
    if not given:
        raise click.UsageError("Give at least one USER, or --stdin to read them from standard input.")
    user_ids = list(dict.fromkeys(checked_user_id(each, "USER") for each in given))
    settings = load()
    store, ledger = Store(settings), Ledger(settings)
    if dry_run:
        document = _foreseen(output, settings, store, ledger, user_ids)
        output.show(document, lambda: _foreseen_text(document))
        return
    documents = _erased(output, settings, store, ledger, user_ids)
    output.show({"requests": documents}, lambda: "\n".join(map(_text, documents)))


def _foreseen(
    output: Output, settings: "Settings", store: "Store", ledger: "Ledger", user_ids: Sequence[str]
) -> dict[str, Any]:
    from export_pipeline.days import utc_now
    from export_pipeline.privacy.foreseeing import foresee

    with output.progress("look", "steps") as progress:
        return foresee(settings, store, ledger, user_ids, utc_now(), progress)


def _erased(
    output: Output, settings: "Settings", store: "Store", ledger: "Ledger", user_ids: Sequence[str]
) -> list[dict[str, Any]]:
    from export_pipeline.days import utc_now
    from export_pipeline.privacy.erasing import erase_now
    from export_pipeline.privacy.requests import request_erasures

    with output.progress("erase", "steps") as progress:
        done = erase_now(
            settings,
            store,
            ledger,
            lambda: request_erasures(ledger, user_ids, now=utc_now(), created_by="command"),
            told=progress,
        )
    return [_document(settings, ledger, request) for request in done]


@click.command()
@click.option(
    "--from",
    "kept",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Read the certificates in DIR too, such as copies kept apart from the backup.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@json_option
@pass_output
def reapply(output: Output, kept: Path | None, dry_run: bool) -> int:
    """Erase again whom a restore from a backup brought back, by the certificates of their erasures.

    Whoever is in the store with something from before their erasure is erased as a whole. An id that was only
    used again afterwards is left alone. Exits 1 if a certificate was changed, or not issued here.
    """
    from export_pipeline.ledger import Ledger
    from export_pipeline.privacy.reapplying import proofs, restored, suppress_again
    from export_pipeline.settings import load
    from export_pipeline.store import Store

    settings = load()
    store, ledger = Store(settings), Ledger(settings)
    found = proofs(settings, kept)
    user_ids = restored(settings, store, found.erased)
    document: dict[str, Any] = {"certificatesRead": found.read, "problems": list(found.problems)}
    lines = [f"{found.read:,} certificates read; {len(user_ids):,} of those they name are here again"]
    lines += [f"not used: {problem}" for problem in found.problems]
    if dry_run:
        foreseen = (
            _foreseen(output, settings, store, ledger, list(user_ids)) if user_ids else {"requests": []}
        )
        lines += [_foreseen_text(foreseen)] if user_ids else []
        output.show({**document, **foreseen}, lambda: "\n".join(lines))
    else:
        again = suppress_again(ledger, found.erased)
        requests = _erased(output, settings, store, ledger, user_ids) if user_ids else []
        lines.append(f"what comes late of {again:,} more people is refused again")
        document |= {"suppressionsRestored": again, "requests": requests}
        output.show(document, lambda: "\n".join([*lines, *map(_text, requests)]))
    return 1 if found.problems else 0


@click.command()
@click.argument("request_id", metavar="REQUEST")
@json_option
@pass_output
def erasure(output: Output, request_id: str) -> None:
    """Show how far an erasure is, what it removed, and where its certificate is."""
    from export_pipeline.ledger import Ledger
    from export_pipeline.settings import load

    settings = load()
    ledger = Ledger(settings)
    document = _document(settings, ledger, ledger.erasures.get(request_id))
    output.show({"requests": [document]}, lambda: _text(document))


def _document(settings: "Settings", ledger: "Ledger", request: "Erasure") -> dict[str, Any]:
    from export_pipeline.privacy.certificates import kept_at
    from export_pipeline.privacy.requests import shown

    path = request.certificate and str(kept_at(settings, request.certificate))
    return {**shown(ledger, request), "certificate": path}


def _text(document: dict[str, Any]) -> str:
    removed = document["rowsRemoved"]
    beside = {place: removed.get(place, 0) for place in ("exports", "accessExports", "quarantine")}
    rows = sum(removed.values()) - sum(beside.values())
    if "error" in document:
        told = f": {document['error']['message']}"
    else:
        told = f", due by {document['dueAt']}; {rows:,} rows removed, and {beside['exports']:,} from exports"
    proof = f"; certificate: {document['certificate']}" if document["certificate"] else ""
    return f"{document['requestId']} is {document['status']}{told}{proof}"


def _foreseen_text(document: dict[str, Any]) -> str:
    lines = [
        f"{sum(request['rowsRemoved'].values()):,} rows would be removed: "
        + ", ".join(f"{rows:,} of {table}" for table, rows in request["rowsRemoved"].items() if rows)
        for request in document["requests"]
    ]
    lines.append(f"{sum(document['idsReplaced'].values()):,} ids would be replaced in rows of others")
    lines += [f"exports/{path} would be made again" for path in document["exports"]]
    lines.append(
        f"{document['accessExports']:,} access exports, {document['quarantine']:,} quarantined lines and "
        f"{document['openExports']:,} open exports would go"
    )
    return "\n".join(line.removesuffix(": ") for line in lines)


COMMANDS = (erase, reapply, erasure)
