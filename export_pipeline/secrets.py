"""Keys of the deployment, made on first use and readable by the operator alone (contract, section 9)."""

import hashlib
import hmac
import os
import uuid
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from sqlalchemy import URL, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from export_pipeline.databases import LEDGER, SCHEMAS, postgres
from export_pipeline.errors import Conflict
from export_pipeline.files import flush
from export_pipeline.settings import Settings

KEY_BYTES = 32


def path_of(settings: Settings, name: str) -> Path:
    """Where the key called ``name`` is, once it is made."""
    return settings.root / "secrets" / f"{name}.key"


def key(settings: Settings, name: str) -> bytes:
    """The 32 random bytes of the key called ``name``; whoever asks first at the same time gets the same.

    Raises:
        Conflict: if another machine of the deployment, which has the same database, made it before.
        TransientError: if the database cannot be reached.
    """
    made = _key(settings, name)
    if postgres.is_used(settings):
        _insist(postgres.url(settings, SCHEMAS[LEDGER]), name, made)
    return made


@lru_cache(maxsize=256)
def _insist(url: URL, name: str, made: bytes) -> None:
    # What one machine hashes or encrypts, another has to find or read.
    mark = hmac.new(made, name.encode(), hashlib.sha256).hexdigest()
    engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "insert into key_marks (name, mark) values (%s, %s) on conflict do nothing", (name, mark)
            )
            query = "select mark from key_marks where name = %s"
            known = connection.exec_driver_sql(query, (name,)).scalar()
    except DBAPIError as error:
        postgres.told(error)
    if known != mark:
        raise Conflict(
            f"the key {name} in secrets/ is not the one of this deployment, which another machine with its "
            "database made; let all machines have the same secrets/, or copy it from there"
        )


def _key(settings: Settings, name: str) -> bytes:
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
