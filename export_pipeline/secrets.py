"""Keys of the deployment, made on first use and readable by the operator alone (contract, section 9)."""

import os
import uuid
from contextlib import suppress
from pathlib import Path

from export_pipeline.files import flush
from export_pipeline.settings import Settings

KEY_BYTES = 32


def path_of(settings: Settings, name: str) -> Path:
    """Where the key called ``name`` is, once it is made."""
    return settings.root / "secrets" / f"{name}.key"


def key(settings: Settings, name: str) -> bytes:
    """The 32 random bytes of the key called ``name``; whoever asks first at the same time gets the same."""
    path = path_of(settings, name)
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(os.urandom(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        # What is hashed or signed with a key is worth nothing once the key is lost.
        flush(path.parent)
    return path.read_bytes()
