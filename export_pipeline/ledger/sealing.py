"""Texts that are kept encrypted, under a key of the deployment (contract, section 5)."""

import base64

from cryptography.fernet import Fernet

from export_pipeline import secrets
from export_pipeline.settings import Settings

FILTERS = "filters"
"""The key for ids of people whom jobs and erasures are about."""


class Seal:
    """Encrypts and decrypts with the deployment's key ``name``."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name

    def close(self, text: str) -> bytes:
        """The text, encrypted."""
        return self._fernet().encrypt(text.encode())

    def open(self, sealed: bytes) -> str:
        """The text that was encrypted."""
        return self._fernet().decrypt(sealed).decode()

    def _fernet(self) -> Fernet:
        return Fernet(base64.urlsafe_b64encode(secrets.key(self._settings, self._name)))
