"""DAGSTER_HOME: the folder under the state root where the Dagster instance keeps its state.

``python -m export_pipeline.dagster_home`` prepares it and prints its path, for shell commands such as
``DAGSTER_HOME=$(python -m export_pipeline.dagster_home) dagster dev -w workspace.yaml``.
"""

from pathlib import Path

from export_pipeline.errors import ExportPipelineError, InvalidSetting
from export_pipeline.files import write_atomically
from export_pipeline.settings import Settings, load

INSTANCE_FILE = Path(__file__).resolve().parents[1] / "dagster.yaml"
"""The instance's configuration, at the root of the source tree."""


def prepare(settings: Settings) -> Path:
    """Make ``<state root>/dagster`` with the source tree's ``dagster.yaml`` in it; the path, absolute.

    Raises:
        InvalidSetting: if the package does not run from a source tree that has a ``dagster.yaml``.
    """
    if not INSTANCE_FILE.is_file():
        raise InvalidSetting(
            f"{INSTANCE_FILE} does not exist; run from a source tree, or set DAGSTER_HOME to a folder of yours",
            field="DAGSTER_HOME",
        )
    home = settings.root / "dagster"
    target, content = home / INSTANCE_FILE.name, INSTANCE_FILE.read_bytes()
    if not target.is_file() or target.read_bytes() != content:
        write_atomically(target, content)
    return home


if __name__ == "__main__":
    try:
        print(prepare(load()))
    except ExportPipelineError as error:
        raise SystemExit(f"Error: {error.message}") from None
