"""The files of ``deploy/`` fit the programs that they start, as far as that can be seen without Docker."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner
from dagster_aws.ecs import EcsRunLauncher

from export_pipeline.settings import Settings, variable

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"


def loaded(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def test_every_variable_of_ours_is_a_setting() -> None:
    known = {variable(field) for field in Settings.model_fields}
    named = {
        name for path in DEPLOY.iterdir() for name in re.findall(r"EXPORT_PIPELINE_\w+", path.read_text())
    }
    assert named
    assert named <= known


def test_only_the_proxy_can_be_reached_from_outside() -> None:
    services = loaded("compose.yaml")["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]


def test_every_process_of_ours_is_watched() -> None:
    services = loaded("compose.yaml")["services"]
    ours = {name: service for name, service in services.items() if service.get("image") == "export_pipeline"}
    assert set(ours) == {"code", "webserver", "daemon", "api"}
    assert all("healthcheck" in service for service in ours.values())


def test_the_launcher_for_tasks_of_their_own_takes_its_configuration() -> None:
    given = loaded("ecs.yaml")["run_launcher"]
    assert (given["module"], given["class"]) == (
        EcsRunLauncher.__module__.rpartition(".")[0],
        "EcsRunLauncher",
    )

    @dg.op(config_schema=EcsRunLauncher.config_type())
    def checked() -> None: ...

    run = {"ops": {"checked": {"config": given["config"]}}}
    dg.validate_run_config(dg.GraphDefinition("only", node_defs=[checked]).to_job(), run)


@pytest.mark.parametrize(
    "words",
    [["code-server", "start", "--help"], ["api", "grpc-health-check", "--help"]],
)
def test_the_commands_of_the_code_location_are_there(words: list[str]) -> None:
    from dagster._cli import create_dagster_cli

    assert CliRunner().invoke(create_dagster_cli(), words).exit_code == 0
