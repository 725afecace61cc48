"""The command that checks a certificate of erasure: ``users verify-certificate``."""

from pathlib import Path

import click

from export_pipeline.cli.output import Output, json_option, pass_output


@click.command("verify-certificate")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--public-key",
    metavar="KEY",
    help="Trust this key, base64 as in a certificate or a PEM file.  [default: this deployment's]",
)
@json_option
@pass_output
def verify_certificate(output: Output, file: Path, public_key: str | None) -> int:
    """Check that this deployment, or the owner of KEY, issued the certificate FILE and nobody changed it."""
    from export_pipeline.privacy import certificates
    from export_pipeline.settings import load

    if public_key is None:
        trusted = certificates.deployment_key(load())
    else:
        given = Path(public_key)
        trusted = certificates.read_public_key(given.read_bytes() if given.is_file() else public_key.encode())
    found = certificates.problems(file.read_bytes(), trusted)
    output.show({"ok": not found, "problems": found}, lambda: "\n".join(found or [f"{file}: genuine"]))
    return 1 if found else 0


COMMANDS = (verify_certificate,)
