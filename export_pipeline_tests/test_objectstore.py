"""The S3 store of the tests leaves nothing behind where all programs have their temporary files."""

import re
import tempfile
from pathlib import Path

import pytest

from export_pipeline_tests import objectstore

pytestmark = pytest.mark.system


def test_no_socket_and_no_log_of_it_is_left(tmp_path: Path) -> None:
    with objectstore.running(tmp_path) as store:
        listens = re.findall(r"-(\w+)\.port(\.grpc)?=(\d+)", Path(f"/proc/{store.pid}/cmdline").read_text())
        names = [f"seaweedfs-{name}{grpc.replace('.', '-')}-{port}.sock" for name, grpc, port in listens]
        sockets = [path for name in names if (path := Path("/tmp", name)).exists()]
        assert len(sockets) >= len(names) / 2
    assert [path for path in sockets if path.exists()] == []
    assert list(Path(tempfile.gettempdir()).glob(f"weed.*.{store.pid}")) == []
