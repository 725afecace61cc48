"""The files of ``deploy/`` fit the programs that they start, as far as that can be seen without Docker."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner
from dagster_aws.ecs import EcsRunLauncher

from export_pipeline.settings import Settings, variable
from export_pipeline_tests.objectstore import ObjectStore

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
    lasting = {name for name, service in ours.items() if service["restart"] != "no"}
    assert lasting == {"code", "webserver", "daemon", "api", "scheduler", "worker"}
    assert all("healthcheck" in services[name] for name in lasting | {"postgres", "objects"})


def test_every_service_that_another_waits_for_is_there_and_says_when_it_is_ready() -> None:
    services = loaded("compose.yaml")["services"]
    for service in services.values():
        waits = service.get("depends_on", {})
        assert set(waits) <= set(services)
        healthy = [name for name in waits if "healthy" in str(waits[name])] if isinstance(waits, dict) else []
        assert all("healthcheck" in services[name] for name in healthy)


@pytest.mark.system
def test_what_the_bucket_is_made_by_makes_it_once(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = loaded("compose.yaml")["services"]["bucket"]["command"]
    monkeypatch.setenv("EXPORT_PIPELINE_S3_ENDPOINT", object_store.url)
    monkeypatch.setenv("EXPORT_PIPELINE_OBJECT_STORE", "s3://made-by-compose/exports")
    for _ in range(2):
        subprocess.run([sys.executable, *command[1:]], check=True)
    buckets = [bucket["Name"] for bucket in object_store.client.list_buckets()["Buckets"]]
    assert buckets.count("made-by-compose") == 1


def test_the_image_has_what_runs_as_it_is_tested_and_nothing_else() -> None:
    def pinned(path: Path) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)(?:\[\S+\])?==(\S+)", path.read_text(), re.MULTILINE))

    image, tested = pinned(DEPLOY / "requirements.txt"), pinned(DEPLOY.parent / "constraints.txt")
    assert image.items() <= tested.items()
    assert {"dagster", "duckdb", "distributed"} <= set(image)
    assert not {"pytest", "mypy", "ruff", "playwright", "schemathesis"} & set(image)


def test_only_what_the_image_copies_goes_into_its_build() -> None:
    ignored = (DEPLOY.parent / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert "*" in ignored
    assert allowed == {source for line in copied for source in line.split()}
    assert all((DEPLOY.parent / source).exists() for source in allowed)


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


def test_the_cluster_starts_with_the_words_it_is_given() -> None:
    services, dask = loaded("compose.yaml")["services"], Path(sys.executable).with_name("dask")
    for name in ("scheduler", "worker"):
        program, *words = services[name]["command"]
        assert program == "dask"
        subprocess.run([dask, *words, "--help"], check=True, stdout=subprocess.DEVNULL)
