"""Places of the caller's choice: outside the state root, as what is in it belongs to the deployment."""

from pathlib import Path

from export_pipeline.errors import InvalidRequest
from export_pipeline.settings import Settings


def outside_root(out: Path, settings: Settings, *, replaced: bool = False) -> Path:
    """The directory ``out``, absolute; it need not be there.

    Args:
        replaced: what is in it may be replaced, so that it must not hold the state root either.

    Raises:
        InvalidRequest: if it is a file, or not outside the state root.
    """
    final, root = out.expanduser().resolve(), settings.root.resolve()
    if final.is_relative_to(root) or (replaced and root.is_relative_to(final)):
        raise InvalidRequest(
            f"out is {out}; it must be a directory outside the state root, {root}", field="out"
        )
    if final.exists() and not final.is_dir():
        raise InvalidRequest(f"out is {out}, a file; it must be a directory", field="out")
    return final
