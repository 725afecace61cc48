"""``keys``, ``serve`` and ``download`` as a user calls them, against a real server."""

import gzip
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from export_pipeline.delivery import fetching
from export_pipeline_tests.api.conftest import Api
from export_pipeline_tests.cli.conftest import Run


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fetching, "PAUSE_SECONDS", 0.01)


def test_a_key_is_made_listed_and_revoked(run: Run) -> None:
    made = run("keys", "create", "--scope", "exports:read", "--name", "nightly", "--json").document
    assert set(made) == {"id", "key", "name", "scopes"}
    listed = run("keys", "list")
    assert made["id"] in listed.out
    assert made["key"] not in listed.out
    assert run("keys", "revoke", made["id"], "--json").document["revokedAt"].endswith("Z")
    assert run("keys", "revoke", made["id"]).code == 1


@pytest.mark.parametrize("scopes", [["--scope", "all"], []])
def test_a_key_needs_scopes_that_exist(run: Run, scopes: list[str]) -> None:
    result = run("keys", "create", *scopes)
    assert result.code == 2
    assert "scope" in result.err


def test_a_url_is_downloaded_and_checked(run: Run, api: Api, tmp_path: Path) -> None:
    status = api.complete()
    fetched = run("download", status["downloadUrl"], "--json").document
    assert fetched["checked"] is True
    assert len(gzip.decompress((tmp_path / f"{status['jobId']}.jsonl.gz").read_bytes()).splitlines()) == 40
    assert run("download", status["downloadUrl"]).code == 1


def test_a_job_shows_how_often_it_was_downloaded(run: Run, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    status = api.complete()
    monkeypatch.setenv("EXPORT_PIPELINE_HOME", str(api.settings.root))
    assert run("jobs", "show", status["jobId"], "--json").document["downloads"]["count"] == 0
    run("download", status["downloadUrl"])
    shown = run("jobs", "show", status["jobId"], "--json").document["downloads"]
    assert shown["count"] >= 1
    assert shown["lastAt"].endswith("Z")


def test_links_are_made_and_revoked_from_the_command_line(
    run: Run, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = api.complete()
    monkeypatch.setenv("EXPORT_PIPELINE_HOME", str(api.settings.root))
    monkeypatch.setenv("EXPORT_PIPELINE_PUBLIC_URL", api.url)
    made = run("jobs", "links", status["jobId"], "--json").document
    assert made["downloadUrl"] != status["downloadUrl"]
    assert run("download", made["downloadUrl"], "--out", "fresh.gz").code == 0
    assert f"downloadUrl: {api.url}/v1/downloads/" in run("jobs", "links", status["jobId"]).out
    revoked = run("jobs", "links", status["jobId"], "--revoke", "--json").document
    assert revoked == {"jobId": status["jobId"], "revoked": 3}
    refused = run("download", made["downloadUrl"], "--out", "revoked.gz")
    assert (refused.code, "was revoked" in refused.err) == (1, True)


@pytest.mark.parametrize("values", [{}, {"format": "csv"}, {"format": "csv", "dataTypes": ["ads", "events"]}])
def test_a_job_of_this_deployment_is_the_same_file(
    run: Run,
    api: Api,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    values: dict[str, object],
) -> None:
    status = api.complete(**values)
    monkeypatch.setenv("EXPORT_PIPELINE_HOME", str(api.settings.root))
    assert run("download", status["jobId"], "--out", "a").code == 0
    assert run("download", status["downloadUrl"], "--out", "b").code == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_changed_url_and_a_wrong_one_are_told_in_a_line(run: Run, api: Api) -> None:
    url = api.complete()["downloadUrl"]
    changed = run("download", url + "A")
    assert (changed.code, changed.err.count("\n")) == (1, 1)
    assert "was changed" in changed.err
    assert run("download", "ftp://example.com/x").code == 2
    assert "cannot be reached" in run("download", "http://127.0.0.1:9/x").err


@pytest.mark.parametrize(
    "values",
    [
        {"dataTypes": ["ads", "events"]},
        {"format": "csv", "compression": "none"},
        {"format": "csv", "dataTypes": ["ads", "events"]},
    ],
)
def test_a_downloaded_file_is_verified_against_its_manifest(
    run: Run, api: Api, tmp_path: Path, values: dict[str, object]
) -> None:
    status = api.complete(**values)
    run("download", status["downloadUrl"], "--out", "week")
    run("download", status["manifestUrl"], "--out", "manifest.json")
    assert run("verify", "week", "--json").document == {"ok": True, "problems": []}
    spoiled = bytearray((tmp_path / "week").read_bytes())
    spoiled[len(spoiled) // 2] ^= 1
    (tmp_path / "week").write_bytes(spoiled)
    assert run("verify", "week", "--manifest", "manifest.json").code == 1
    (tmp_path / "week").write_bytes(spoiled[:-5])
    assert run("verify", "week").code == 1


def test_a_file_without_its_manifest_cannot_be_verified(run: Run, tmp_path: Path) -> None:
    (tmp_path / "week").write_bytes(b"")
    result = run("verify", "week")
    assert (result.code, "manifest.json does not exist" in result.out) == (1, True)


class _Breaking(http.server.BaseHTTPRequestHandler):
    """Passes a URL's bytes on, but breaks off after so many; spoils one of them if told to."""

    content = b""
    most = 0
    spoil = False

    def do_GET(self) -> None:
        start, _, end = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")
        body = self.content[int(start) : int(end) + 1 if end else None]
        self.send_response(206)
        self.send_header("ETag", self.headers.get("If-Range") or self.tag)
        self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write((b"\xff" if self.spoil and not end else body[:1]) + body[1 : self.most])

    tag = ""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def breaking() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Breaking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/file.bin"
    server.shutdown()
    server.server_close()


def content(monkeypatch: pytest.MonkeyPatch, most: int, spoil: bool = False) -> bytes:
    body = bytes(range(256)) * 40
    for name, value in (
        ("content", body),
        ("most", most),
        ("spoil", spoil),
        ("tag", f'"{hashlib.sha256(body).hexdigest()}"'),
    ):
        monkeypatch.setattr(_Breaking, name, value)
    return body


def test_a_connection_that_breaks_is_resumed(
    run: Run, breaking: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body = content(monkeypatch, 3000)
    assert run("download", breaking).code == 0
    assert (tmp_path / "file.bin").read_bytes() == body


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(
    run: Run, breaking: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body = content(monkeypatch, 100)
    assert run("download", breaking).code == 1
    assert not (tmp_path / "file.bin").exists()
    content(monkeypatch, 1 << 20)
    assert run("download", breaking, "--json").document["resumedFrom"] == 500
    assert (tmp_path / "file.bin").read_bytes() == body


def test_damaged_bytes_never_get_the_file_s_name(
    run: Run, breaking: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content(monkeypatch, 1 << 20, spoil=True)
    result = run("download", breaking)
    assert result.code == 1
    assert "not as it was published" in result.err
    assert list(tmp_path.glob("*file.bin*")) == []
