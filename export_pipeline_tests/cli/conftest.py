"""The command line as a user calls it: arguments in; exit code, standard output and error out."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from export_pipeline.cli import main
from export_pipeline.settings import Settings
from export_pipeline_tests.api.conftest import api, serving

__all__ = ["api", "run", "serving"]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("EXPORT_PIPELINE_HOME", str(settings.home))
    monkeypatch.setenv("EXPORT_PIPELINE_WORKERS", "2")
    monkeypatch.setenv("EXPORT_PIPELINE_SMTP_HOST", "localhost")  # where nothing listens for mail

    def call(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        code = ended.value.code
        return Result(code if isinstance(code, int) else int(code is not None), captured.out, captured.err)

    return call
