"""Running something beside a file system of a few kilobytes, in a namespace that ends with the process."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

IN_NAMESPACE = ["unshare", "--map-root-user", "--mount"]
_MOUNT = "mount -t tmpfs -o size={size} tmpfs {folder}"


@cache
def _can_mount() -> bool:
    if not shutil.which("unshare"):
        return False
    mounting = [*IN_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(mounting, capture_output=True, check=False).returncode == 0


needs_small_disk = pytest.mark.skipif(
    not _can_mount(), reason="a file system cannot be mounted in a namespace of its own here"
)


def on_small_disk(folder: Path, size: str) -> list[str]:
    """The words before a command by which ``folder``, for it alone, is a file system of ``size``."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = _MOUNT.format(size=size, folder=f"'{folder}'")
    return [*IN_NAMESPACE, "sh", "-c", f'{mounted} && exec "$@"', "sh"]
