"""The certificate of an erasure: what it says, when there is none, and that nobody can change it."""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from export_pipeline.cli import main
from export_pipeline.errors import InvalidRequest, NotProven
from export_pipeline.ingest import ingest_landing
from export_pipeline.ledger import Erasure, Ledger
from export_pipeline.ledger.erasures import COMPLETE, FAILED
from export_pipeline.privacy import certificates, proving
from export_pipeline.privacy.certificates import canonical, deployment_key, problems, read_public_key
from export_pipeline.privacy.erasing import STEPS, erase_now, take_step
from export_pipeline.privacy.requests import request_erasures
from export_pipeline.settings import Settings
from export_pipeline.store import Store
from export_pipeline_tests.exports.conftest import NOW, Land
from export_pipeline_tests.ingest.landed import land as land_file
from export_pipeline_tests.privacy.walker import find
from export_pipeline_tests.rows import row

ADA, BOB = "user_00000001", "user_00000002"


@pytest.fixture
def erase(settings: Settings, store: Store, ledger: Ledger) -> Any:
    """Erases people at once, and gives their requests."""

    def erased(*people: str) -> tuple[Erasure, ...]:
        return erase_now(
            settings,
            store,
            ledger,
            lambda: request_erasures(ledger, people, now=NOW, created_by="command"),
            clock=lambda: NOW,
        )

    return erased


@pytest.fixture
def certificate(settings: Settings, land: Land, erase: Any) -> dict[str, Any]:
    """The certificate of Ada, of whom Bob's rows tell."""
    land([row(1, userId=ADA), row(2, userId=BOB, data=json.dumps({"to": ADA})), row(3, userId=BOB)])
    (request,) = erase(ADA)
    return json.loads((settings.root / request.certificate).read_bytes())


def test_a_certificate_says_what_was_searched_removed_and_left(
    settings: Settings, certificate: dict[str, Any]
) -> None:
    assert certificate["rowsRemoved"]["engagement_events"] == 1
    assert certificate["idsReplaced"] == {"engagement_events": 1}
    assert (certificate["matchesLeft"], certificate["laterUse"]) == (0, 0)
    places = certificate["searched"]["places"]
    assert {"engagement_events", "ledger", "catalog", "names"} <= places.keys()
    assert certificate["bytesSearched"] == sum(place["bytes"] for place in places.values()) > 0
    assert certificate["exceptions"] == {"contested": []}
    assert find(settings.root, [ADA]) == []


def test_a_certificate_holds_contested_ids_as_keyed_hashes_alone(
    settings: Settings, store: Store, ledger: Ledger, erase: Any
) -> None:
    links = [
        {"userId": user, "deviceId": "tablet-1", "linkedAt": "2026-11-20T10:00:00Z"} for user in (ADA, BOB)
    ]
    land_file(settings, "links.jsonl", "".join(json.dumps(each) + "\n" for each in links), "users/devices")
    ingest_landing(settings, store, ledger)
    (request,) = erase(ADA)
    text = (settings.root / request.certificate).read_text()
    (contested,) = json.loads(text)["exceptions"]["contested"]
    assert len(contested) == 64
    assert "tablet-1" not in text


def test_every_request_of_a_pass_has_a_certificate_of_its_own(
    settings: Settings, land: Land, erase: Any
) -> None:
    land([row(1, userId=ADA), row(2, userId=BOB), row(3, userId=BOB)])
    documents = [json.loads((settings.root / each.certificate).read_bytes()) for each in erase(ADA, BOB)]
    assert [each["rowsRemoved"]["engagement_events"] for each in documents] == [1, 2]
    assert len({each["subject"] for each in documents}) == 2


def changes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value, containers among them, in a document."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from changes(inner, (*path, key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from changes(inner, (*path, position))


def changed(document: Any, path: tuple[Any, ...], *, gone: bool) -> Any:
    """``document`` with another value at ``path``, or without it."""
    copy = json.loads(json.dumps(document))
    holder = copy
    for step in path[:-1]:
        holder = holder[step]
    if gone:
        del holder[path[-1]]
    else:
        old = holder[path[-1]]
        holder[path[-1]] = old + 1 if isinstance(old, int) else [old]
    return copy


def test_a_certificate_with_any_field_changed_or_gone_fails(
    settings: Settings, certificate: dict[str, Any]
) -> None:
    trusted = deployment_key(settings)
    assert problems(json.dumps(certificate).encode(), trusted) == []
    for path in changes(certificate):
        for gone in (False, True):
            assert problems(json.dumps(changed(certificate, path, gone=gone)).encode(), trusted), path
    assert problems(json.dumps({**certificate, "more": 1}).encode(), trusted)


def test_a_certificate_signed_anew_with_another_key_fails(
    settings: Settings, certificate: dict[str, Any]
) -> None:
    other = Ed25519PrivateKey.generate()
    forged = {**certificate, "subject": "0" * 64}
    forged["publicKey"] = base64.b64encode(other.public_key().public_bytes_raw()).decode()
    forged["signature"] = base64.b64encode(other.sign(canonical(forged))).decode()
    assert problems(json.dumps(forged).encode(), other.public_key().public_bytes_raw()) == []
    assert problems(json.dumps(forged).encode(), deployment_key(settings))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"signature": "AA=="}', b"[" * 5000])
def test_what_is_no_certificate_fails(content: bytes) -> None:
    assert problems(content, bytes(32))


def test_a_field_given_twice_fails(settings: Settings, certificate: dict[str, Any]) -> None:
    twice = '{"matchesLeft": 5, ' + json.dumps(certificate)[1:]
    assert problems(twice.encode(), deployment_key(settings))


def test_a_public_key_is_read_from_pem_and_base64_and_nothing_else() -> None:
    key = Ed25519PrivateKey.generate().public_key()
    raw = key.public_bytes_raw()
    assert read_public_key(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)) == raw
    assert read_public_key(base64.b64encode(raw) + b"\n") == raw
    for wrong in (b"", b"AAAA", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"\xff"):
        with pytest.raises(InvalidRequest):
            read_public_key(wrong)


def test_an_unknown_file_leaves_no_certificate_until_it_is_gone(
    settings: Settings, store: Store, ledger: Ledger, land: Land
) -> None:
    land([row(1, userId=ADA)])
    stranger = settings.root / f"notes of {ADA}.txt"
    stranger.write_bytes(b"")
    (request,) = request_erasures(ledger, [ADA], now=NOW, created_by="command")
    with pytest.raises(NotProven, match="nobody accounts for this file") as caught:
        take_steps(settings, store, ledger, request)
    assert ADA not in caught.value.message
    failed = ledger.erasures.get(request.id)
    assert (failed.state, failed.error_code, failed.certificate) == (FAILED, "NOT_PROVEN", None)
    stranger.unlink()
    take_steps(settings, store, ledger, request)
    assert ledger.erasures.get(request.id).state == COMPLETE


def test_a_trace_that_is_left_leaves_no_certificate(
    settings: Settings, store: Store, ledger: Ledger, land: Land
) -> None:
    land([row(1, userId=ADA)])
    kept = settings.root / "dagster" / "logs" / "event.log"
    kept.parent.mkdir(parents=True)
    kept.write_text(f"looked for {ADA}")
    (request,) = request_erasures(ledger, [ADA], now=NOW, created_by="command")
    with pytest.raises(NotProven, match="ids of erased people are left: 1 in dagster"):
        take_steps(settings, store, ledger, request)
    with pytest.raises(NotProven, match="has to be scanned"):
        proving.certify(settings, store, ledger, request.id, NOW)
    assert not (settings.root / "certificates" / f"{request.id}.json").exists()


def test_without_a_scan_there_is_no_certificate(settings: Settings, store: Store, ledger: Ledger) -> None:
    (request,) = request_erasures(ledger, [ADA], now=NOW, created_by="command")
    take_steps(settings, store, ledger, request, until="scan")
    with pytest.raises(NotProven):
        take_step(settings, store, ledger, request.id, "certify", NOW)


def test_events_of_an_id_that_is_used_again_are_no_trace(
    settings: Settings, store: Store, ledger: Ledger, land: Land
) -> None:
    land([row(1, userId=ADA)])
    (request,) = request_erasures(ledger, [ADA], now=NOW, created_by="command")
    take_steps(settings, store, ledger, request, until="scan")
    land([row(2, userId=ADA, timestamp=NOW + timedelta(minutes=1))])
    take_step(settings, store, ledger, request.id, "scan", NOW)
    take_step(settings, store, ledger, request.id, "certify", NOW)
    said = json.loads(certificates.path_of(settings, request.id).read_bytes())
    assert said["matchesLeft"] == 0
    assert said["laterUse"] == 1


def take_steps(
    settings: Settings, store: Store, ledger: Ledger, request: Erasure, until: str | None = None
) -> None:
    """The steps of an erasure, in order, before ``until``."""
    for name in STEPS:
        if name == until:
            return
        take_step(settings, store, ledger, request.id, name, NOW)


def verify(*arguments: str) -> int:
    """The exit code of ``users verify-certificate``."""
    with pytest.raises(SystemExit) as ended:
        main(["users", "verify-certificate", *arguments])
    return int(ended.value.code or 0)


def test_the_command_trusts_the_deployment_or_the_key_it_is_given(
    settings: Settings,
    certificate: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(certificate))
    monkeypatch.setenv("EXPORT_PIPELINE_HOME", str(settings.root))
    assert verify(str(file)) == 0
    monkeypatch.setenv("EXPORT_PIPELINE_HOME", str(tmp_path / "another"))
    assert verify(str(file)) == 1
    assert "never issued a certificate" in capsys.readouterr().err
    assert verify(str(file), "--public-key", certificate["publicKey"]) == 0
    assert verify(str(file), "--public-key", base64.b64encode(bytes(32)).decode()) == 1
    assert verify(str(file), "--public-key", "nonsense") == 2
    file.write_text(json.dumps({**certificate, "matchesLeft": 1}))
    capsys.readouterr()
    assert verify(str(file), "--public-key", certificate["publicKey"], "--json") == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
