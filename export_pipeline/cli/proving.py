"""The command that checks a certificate of erasure: ``users verify-certificate``."""

from pathlib import Path
from typing import Any

import click

from export_pipeline.cli.output import Output, json_option, pass_output


class CertificateFile(click.Path):
    """A file of this machine, or the place of an object as ``users erasure`` shows it."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        """The path; the text of an object's place as it is."""
        return value if str(value).startswith("s3://") else super().convert(value, parameter, context)


def _in_bucket(url: str) -> bytes:
    from export_pipeline import objects
    from export_pipeline.errors import InvalidRequest
    from export_pipeline.outages import answering
    from export_pipeline.settings import load

    settings = load()
    try:
        with answering():
            return objects.reading(objects.place(url, settings.s3_endpoint, settings.s3_region)).read()
    except FileNotFoundError:
        raise InvalidRequest(f"FILE is {url}; it must be there", field="FILE") from None


@click.command("verify-certificate")
@click.argument("file", type=CertificateFile())
@click.option(
    "--public-key",
    metavar="KEY",
    help="Trust this key, base64 as in a certificate or a PEM file.  [default: this deployment's]",
)
@json_option
@pass_output
def verify_certificate(output: Output, file: Path | str, public_key: str | None) -> int:
    """Check that this deployment, or the owner of KEY, issued the certificate FILE and nobody changed it."""
    from export_pipeline.privacy import certificates
    from export_pipeline.settings import load

    content = _in_bucket(file) if isinstance(file, str) else file.read_bytes()
    if public_key is None:
        trusted = certificates.deployment_key(load())
    else:
        given = Path(public_key)
        trusted = certificates.read_public_key(given.read_bytes() if given.is_file() else public_key.encode())
    found = certificates.problems(content, trusted)
    output.show({"ok": not found, "problems": found}, lambda: "\n".join(found or [f"{file}: genuine"]))
    return 1 if found else 0


COMMANDS = (verify_certificate,)
