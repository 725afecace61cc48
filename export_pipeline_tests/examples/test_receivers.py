"""The receivers in docs/receivers and the public packages, run on requests that the outbox really sent."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from export_pipeline.delivery.outbox import Courier
from export_pipeline_tests.api.conftest import Serving
from export_pipeline_tests.delivery.outboxes import Outbox
from export_pipeline_tests.delivery.receivers import Received, receiver
from export_pipeline_tests.system import program

RECEIVERS = Path(__file__).resolve().parents[2] / "docs" / "receivers"
SAMPLES = [f"{family}.{kind}" for family in ("standard", "shortform") for kind in ("py", "mjs", "sh")]
NODE_PACKAGES = Path(__file__).with_name("node")


@dataclass(frozen=True)
class Sent:
    """A request as it arrived during a rotation, and the secrets: the one before, and the new one."""

    request: Received
    before: str
    secret: str


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sent]:
    """A request outside of a rotation, and one in it."""
    with receiver() as there:
        home = tmp_path_factory.mktemp("receivers") / "home"
        outbox = Outbox(home, webhook_allow=there.url.removesuffix("/hook"))
        webhook_id = outbox.endpoint(there.url)
        secret = outbox.secret(webhook_id)
        outbox.complete_job()
        outbox.deliver()
        new, _ = outbox.ledger.webhooks.rotate(webhook_id, outbox.clock())
        outbox.complete_job()
        outbox.deliver()
    first, second = there.got
    return {"usual": Sent(first, "", secret), "rotating": Sent(second, secret, new)}


def verdict(
    sample: str, folder: Path, secret: str, headers: Mapping[str, str], body: bytes
) -> subprocess.CompletedProcess[str]:
    """What a sample says of a request."""
    runs: dict[str, list[str]] = {"py": [sys.executable], "mjs": ["node"], "sh": ["sh"]}
    (folder / "headers.txt").write_text("".join(f"{name}: {value}\r\n" for name, value in headers.items()))
    (folder / "body.json").write_bytes(body)
    return subprocess.run(
        [*runs[sample.rpartition(".")[2]], RECEIVERS / sample, folder / "headers.txt", folder / "body.json"],
        env={**os.environ, "WEBHOOK_SECRET": secret},
        capture_output=True,
        text=True,
        timeout=60,
    )


def needed(sample: str) -> None:
    program("node" if sample.endswith("mjs") else "sh")
    program("openssl" if sample.endswith("sh") else "sh")


Change = Callable[[dict[str, str], bytes], bytes]


def _body(_: dict[str, str], body: bytes) -> bytes:
    return body.replace(b"export.ready", b"export.reads")


def _age(headers: dict[str, str], body: bytes) -> bytes:
    for name in ("webhook-timestamp", "x-shortform-timestamp"):
        headers[name] = str(int(time.time()) - 3600)
    return body


def _no_signature(headers: dict[str, str], body: bytes) -> bytes:
    for name in ("webhook-signature", "x-shortform-signature"):
        del headers[name]
    return body


def _signature(headers: dict[str, str], body: bytes) -> bytes:
    headers["webhook-signature"] = "v1," + "A" * 43 + "="
    headers["x-shortform-signature"] = "sha256=" + "0" * 64
    return body


@pytest.mark.system
@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_accepts_what_we_send_and_refuses_what_was_changed(
    sample: str, sent: dict[str, Sent], tmp_path: Path
) -> None:
    needed(sample)
    usual = sent["usual"]
    right = verdict(sample, tmp_path, usual.secret, usual.request.headers, usual.request.body)
    assert (right.returncode, right.stdout) == (0, "ok\n"), right.stderr
    changes: tuple[Change, ...] = (_body, _age, _no_signature, _signature)
    for change in changes:
        headers = dict(usual.request.headers)
        body = change(headers, usual.request.body)
        wrong = verdict(sample, tmp_path, usual.secret, headers, body)
        assert (wrong.returncode, wrong.stdout) == (1, ""), change
        assert "refused" in wrong.stderr
    other = verdict(sample, tmp_path, sent["rotating"].secret, usual.request.headers, usual.request.body)
    assert other.returncode == 1


@pytest.mark.system
@pytest.mark.parametrize("sample", SAMPLES)
def test_in_a_rotation_a_sample_that_knows_the_secret_before_accepts(
    sample: str, sent: dict[str, Sent], tmp_path: Path
) -> None:
    needed(sample)
    rotating = sent["rotating"]
    request = rotating.request
    assert verdict(sample, tmp_path, rotating.before, request.headers, request.body).returncode == 0
    known = verdict(sample, tmp_path, rotating.secret, request.headers, request.body).returncode
    assert known == (0 if sample.startswith("standard") else 1)


@pytest.mark.system
@pytest.mark.parametrize("package", ["standardwebhooks", "svix"])
def test_the_public_node_packages_agree(package: str, sent: dict[str, Sent], tmp_path: Path) -> None:
    program("node")
    if not (NODE_PACKAGES / "node_modules" / package).exists():
        reason = f"the npm package {package} is not installed; `make test-system` installs it"
        if os.environ.get("REQUIRE_SYSTEM"):
            pytest.fail(reason)
        pytest.skip(reason)
    usual = sent["usual"]

    def verified(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
        asked = {"secret": secret, "headers": dict(headers), "body": body.decode()}
        done = subprocess.run(
            ["node", NODE_PACKAGES / "verify.mjs", package],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout in ("accepted\n", "refused\n"), done.stderr
        return done.stdout == "accepted\n"

    request, rotating = usual.request, sent["rotating"]
    assert verified(usual.secret, request.headers, request.body)
    assert not verified(usual.secret, request.headers, request.body + b" ")
    assert not verified(rotating.secret, request.headers, request.body)
    for secret in (rotating.before, rotating.secret):
        assert verified(secret, rotating.request.headers, rotating.request.body)
    aged = dict(request.headers)
    _age(aged, b"")
    assert not verified(usual.secret, aged, request.body)


def test_the_readme_s_receiver_fetches_and_checks_what_it_is_told_of(
    serving: Serving, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    origin = f"http://localhost:{port}"
    api = serving(tmp_path / "home", webhook_allow=origin)
    section = (RECEIVERS.parents[1] / "README.md").read_text().split("## Webhooks and e-mail")[1]
    lines = section.split("```sh\n")[1].split("```")[0].replace("http://localhost:9000", origin)
    lines = lines.replace(" 9000", f" {port}")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "docs").symlink_to(RECEIVERS.parent)
    with subprocess.Popen(
        [
            "bash",
            "-euc",
            lines.replace("WEBHOOK_SECRET=$SECRET python3", "WEBHOOK_SECRET=$SECRET exec python3"),
        ],
        cwd=tmp_path,
        env={
            "PATH": "/usr/bin:/bin",
            "EXPORT_PIPELINE_HOME": str(api.settings.root),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as receiving:
        try:
            while not _listens(port):
                assert receiving.poll() is None, receiving.communicate()
                time.sleep(0.05)
            job = api.complete()
            settings = api.settings.model_copy(update={"public_url": api.url})
            assert Courier(settings, api.ledger).deliver_due() == 1
            assert receiving.stdout is not None
            said = receiving.stdout.readline()
        finally:
            receiving.kill()
    assert said == f"{job['jobId']}/{job['files'][0]['name']}: {job['rowCount']} rows, verified\n"
    assert (tmp_path / job["jobId"] / job["files"][0]["name"]).stat().st_size == job["files"][0]["bytes"]
    assert api.ledger.messages.list()[0][0].state == "success"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
