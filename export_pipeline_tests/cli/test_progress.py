"""Long work shows a bar on a terminal, and nowhere else."""

import json
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from export_pipeline.settings import Settings
from export_pipeline_tests.cli.conftest import Run
from export_pipeline_tests.ingest.landed import land

LONG = {
    "ingest": ["ingest"],
    "ingest --duckdb": ["ingest", "--duckdb", "{here}/source.duckdb"],
    "replay": ["quarantine", "replay"],
    "retention": ["retention", "--dry-run"],
    "verify": ["verify", "{here}"],
    "export": ["users", "export", "user_00000001", "--out", "{here}/out"],
    "look": ["users", "erase", "user_00000001", "--dry-run"],
}
LINE = json.dumps(
    {"event": "like", "contentId": "vid_1", "userId": "user_00000001", "deviceType": "ios", "eventId": "a"}
)


@pytest.fixture
def held(run: Run, settings: Settings, tmp_path: Path) -> None:
    land(settings, "a.jsonl", f"{LINE}\nnot json\n")
    run("ingest")
    land(settings, "b.jsonl", LINE.replace('"a"', '"b"'))
    with duckdb.connect(str(tmp_path / "source.duckdb")) as source:
        source.execute(
            "create table engagement_events as select 'like' as event, 'vid_1' as contentId, "
            "'user_1' as userId, 'ios' as deviceType, 'c' as eventId, "
            "now()::timestamp - interval 1 hour as receivedAt"
        )


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("arguments", LONG.values(), ids=list(LONG))
def test_a_long_command_moves_a_bar_on_a_terminal_only(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: Sequence[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    given = [each.format(here=tmp_path) for each in arguments]
    assert "/s]" in run(*given).err
    assert run(*given, "--json").err == ""
