"""DAGSTER_HOME: the folder under the state root where the Dagster instance keeps its state.

``python -m export_pipeline.dagster_home -- COMMAND…`` prepares it and runs COMMAND with DAGSTER_HOME set,
such as ``dagster dev -w workspace.yaml``; without a command it prints the path.
"""

import json
import os
import sys
from pathlib import Path

from export_pipeline.databases import postgres
from export_pipeline.errors import ExportPipelineError, InvalidSetting
from export_pipeline.files import write_atomically
from export_pipeline.objects import AnyPath, is_remote
from export_pipeline.settings import Settings, load, variable

_EMBEDDED = "storage:\n  sqlite:\n    base_dir:\n      env: DAGSTER_HOME\n"
_POSTGRES = f"storage:\n  postgres:\n    postgres_url:\n      env: {variable('database')}\n"
_S3_LOGS = "dagster_aws.s3.compute_log_manager", "S3ComputeLogManager"
_FOLDER, _PRINTED = "dagster", "storage"
INSTANCE_FILE = Path(__file__).resolve().parents[1] / "dagster.yaml"
"""The instance's configuration, at the root of the source tree."""


def prepare(settings: Settings) -> Path:
    """Make ``<state root>/dagster`` with the source tree's ``dagster.yaml`` in it; the path, absolute.

    With the databases in PostgreSQL, so is the instance's state; the address stays in the environment. With
    data in an object store, so is what runs print, below the same prefix.

    Raises:
        InvalidSetting: if the package does not run from a source tree that has a ``dagster.yaml``.
    """
    if not INSTANCE_FILE.is_file():
        raise InvalidSetting(
            f"{INSTANCE_FILE} does not exist; run from a source tree, or set DAGSTER_HOME yourself",
            field="DAGSTER_HOME",
        )
    home = settings.root / _FOLDER
    target, content = home / INSTANCE_FILE.name, _instance(settings)
    if not target.is_file() or target.read_bytes() != content:
        write_atomically(target, content)
    return home


def printed(settings: Settings) -> list[AnyPath]:
    """Where runs leave what they print, each in a folder that is named by its id: on this machine,
    and in the object store if there is one."""
    here = settings.root / _FOLDER / _PRINTED
    return [here, settings.data / _FOLDER / _PRINTED] if is_remote(settings.data) else [here]


def _instance(settings: Settings) -> bytes:
    content = INSTANCE_FILE.read_text()
    if postgres.is_used(settings):
        if content.count(_EMBEDDED) != 1:
            raise InvalidSetting(
                f"{INSTANCE_FILE} does not hold the storage of the embedded default, which a database is put "
                "in the place of; put it back",
                field="DAGSTER_HOME",
            )
        content = content.replace(_EMBEDDED, _POSTGRES)
    return (content + _compute_logs(settings)).encode()


def _compute_logs(settings: Settings) -> str:
    if not settings.object_store:
        return ""
    bucket, _, prefix = settings.object_store.removeprefix("s3://").strip("/").partition("/")
    config = {
        "bucket": bucket,
        "prefix": f"{prefix}/{_FOLDER}".lstrip("/"),
        # Until a step ends, and for good if its process dies: where an erasure and retention look.
        "local_dir": str(settings.root / _FOLDER / _PRINTED),
    }
    if settings.s3_endpoint:
        config["endpoint_url"] = settings.s3_endpoint
    if settings.s3_region:
        config["region"] = settings.s3_region
    lines = "".join(f"    {name}: {json.dumps(value)}\n" for name, value in config.items())
    return f"\ncompute_logs:\n  module: {_S3_LOGS[0]}\n  class: {_S3_LOGS[1]}\n  config:\n{lines}"


def main(arguments: list[str]) -> None:
    """Prepare the folder; become the command after ``--``, or print the folder's path."""
    try:
        home = prepare(load())
    except ExportPipelineError as error:
        raise SystemExit(f"Error: {error.message}") from None
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    if not command:
        print(home)
        return
    os.environ["DAGSTER_HOME"] = str(home)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
