"""Certificates of erasure: JSON signed with Ed25519, and checking one.

The signature is over the canonical bytes of all fields but itself: keys sorted, no space between, UTF-8. The
deployment's key is the one trusted; the public key inside a certificate only says which one it claims.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from upath import UPath

from export_pipeline import objects, secrets
from export_pipeline.errors import Conflict, InvalidRequest, NotFound
from export_pipeline.files import to_json
from export_pipeline.ledger import Erasure
from export_pipeline.outages import answering
from export_pipeline.settings import Settings

KEY = "certificates"
"""The name of the deployment's private key, its 32 bytes."""

ALGORITHM = "Ed25519"
SIGNATURE, PUBLIC_KEY = "signature", "publicKey"

Document = Mapping[str, Any]


def path_of(settings: Settings, request_id: str) -> UPath:
    """Where the certificate of an erasure request is."""
    return settings.certificates / f"{request_id}.json"


def issue(settings: Settings, request_id: str, document: Document) -> UPath:
    """Sign ``document`` and write it as the certificate of a request; where it is."""
    key = Ed25519PrivateKey.from_private_bytes(secrets.key(settings, KEY))
    signed = {**document, "algorithm": ALGORITHM, PUBLIC_KEY: _base64(key.public_key().public_bytes_raw())}
    signed[SIGNATURE] = _base64(key.sign(canonical(signed)))
    path = path_of(settings, request_id)
    objects.write(path, to_json(signed))
    return path


def kept_at(settings: Settings, certificate: str) -> UPath:
    """Where a certificate is that the ledger names."""
    return settings.data / certificate


def read(settings: Settings, request: Erasure) -> bytes:
    """The certificate of a request, as it was signed.

    Raises:
        Conflict: if the request is not complete.
        NotFound: if the certificate is not there any more.
        TransientError: if the store does not answer.
    """
    if request.certificate is None:
        raise Conflict(f"erasure {request.id} is {request.state}; only a complete one has a certificate")
    try:
        with answering(), objects.reading(kept_at(settings, request.certificate)) as file:
            return file.read()
    except FileNotFoundError:
        raise NotFound("the certificate is not there any more", field="requestId") from None


def canonical(document: Document) -> bytes:
    """The bytes that are signed: ``document`` without its signature."""
    fields = {name: value for name, value in document.items() if name != SIGNATURE}
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def deployment_key(settings: Settings) -> bytes:
    """The public key, 32 bytes, of this deployment.

    Raises:
        Conflict: if it never signed anything.
    """
    if not secrets.path_of(settings, KEY).exists():
        raise Conflict("this deployment never issued a certificate; give the public key of the one that did")
    return Ed25519PrivateKey.from_private_bytes(secrets.key(settings, KEY)).public_key().public_bytes_raw()


def read_public_key(text: bytes) -> bytes:
    """The 32 bytes of a public key that is given as PEM, or as in a certificate, in base64.

    Raises:
        InvalidRequest: if it is neither.
    """
    try:
        if b"BEGIN PUBLIC KEY" in text:
            key = load_pem_public_key(text)
            if isinstance(key, Ed25519PublicKey):
                return key.public_bytes_raw()
        elif len(raw := base64.b64decode(text.strip(), validate=True)) == secrets.KEY_BYTES:
            return raw
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        pass
    raise InvalidRequest(
        "the public key cannot be used; it must be an Ed25519 key as PEM, or its 32 bytes in base64",
        field="publicKey",
    )


def problems(content: bytes, trusted: bytes) -> list[str]:
    """What is wrong with the certificate in ``content``; nothing, if the owner of ``trusted`` signed it.

    Args:
        trusted: the public key, 32 bytes, of the deployment that is to have issued it.
    """
    try:
        document = json.loads(content, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return ["it is no JSON, or names a field twice"]
    if not isinstance(document, dict) or not isinstance(document.get(SIGNATURE), str):
        return ["it is not a certificate: it has no signature"]
    if document.get("algorithm") != ALGORITHM:
        return [f"it is not signed with {ALGORITHM}"]
    if document.get(PUBLIC_KEY) != _base64(trusted):
        return ["it names another public key than the one that is trusted"]
    try:
        signature = base64.b64decode(document[SIGNATURE], validate=True)
        Ed25519PublicKey.from_public_bytes(trusted).verify(signature, canonical(document))
    except (InvalidSignature, ValueError):
        return ["its signature does not fit: it was changed, or not issued by the owner of the key"]
    return []


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field is there twice")
    return fields


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
