"""The keyed hash under which an erased person is known: it stays where the id may not."""

import hashlib

from export_pipeline import secrets
from export_pipeline.settings import Settings

KEY = "suppression"
"""The deployment's key that ids are hashed with."""


def key_hash(settings: Settings, user_id: str) -> str:
    """The hex SHA-256 of the key in hex followed by the id; ingest computes the same in SQL."""
    return hashlib.sha256(secrets.key(settings, KEY).hex().encode() + user_id.encode()).hexdigest()
