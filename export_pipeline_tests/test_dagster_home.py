import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.dagster_home import INSTANCE_FILE, prepare
from export_pipeline.settings import Settings
from export_pipeline_tests.objectstore import ObjectStore


def test_the_home_holds_the_tree_s_instance_file(settings: Settings) -> None:
    home = prepare(settings)
    assert home == settings.root / "dagster"
    assert (home / "dagster.yaml").read_bytes() == INSTANCE_FILE.read_bytes()


def test_a_changed_copy_is_put_right(settings: Settings) -> None:
    copy = prepare(settings) / "dagster.yaml"
    copy.write_text("telemetry: {enabled: true}\n")
    prepare(settings)
    assert copy.read_bytes() == INSTANCE_FILE.read_bytes()


def test_a_command_runs_with_the_home_set(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "export_pipeline.dagster_home", "--"]
    command = [sys.executable, "-c", "import os; print(os.environ['DAGSTER_HOME'])"]
    environ = {**os.environ, "EXPORT_PIPELINE_HOME": str(tmp_path)}
    done = subprocess.run([*program, *command], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "dagster")


def test_a_wrong_setting_is_told_in_one_line(tmp_path: Path) -> None:
    environ = {**os.environ, "EXPORT_PIPELINE_HOME": str(tmp_path), "EXPORT_PIPELINE_EXPORT_HOUR": "24"}
    program = [sys.executable, "-m", "export_pipeline.dagster_home"]
    done = subprocess.run(program, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: EXPORT_PIPELINE_EXPORT_HOUR is '24'")
    assert len(done.stderr.splitlines()) == 1


RUN = """
import dagster as dg
instance = dg.DagsterInstance.get()
run = dg.GraphDefinition(name="nothing").to_job().execute_in_process(instance=instance)
print(type(instance.event_log_storage).__name__, run.success, instance.get_runs_count(), end=" ")
instance.delete_run(run.run_id)
print(instance.get_runs_count())
"""


@pytest.mark.system
def test_dagster_keeps_its_state_in_the_database_whose_password_is_in_no_file(
    database: str, tmp_path: Path
) -> None:
    environ = {**os.environ, "EXPORT_PIPELINE_HOME": str(tmp_path), "EXPORT_PIPELINE_DATABASE": database}
    program = [sys.executable, "-m", "export_pipeline.dagster_home", "--", sys.executable, "-c", RUN]
    done = subprocess.run(program, env=environ, capture_output=True, text=True)
    assert done.stdout.strip() == "PostgresEventLogStorage True 1 0", done.stderr
    secret = database.partition("@")[0].rpartition(":")[2]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert tmp_path / "dagster" / "dagster.yaml" in files
    assert not [path for path in files if secret in path.read_text(errors="replace")]
    assert not [path for path in files if path.suffix == ".db"]


PRINTING = """
import dagster as dg

@dg.op
def speak():
    print("spoken by the run")

@dg.job
def spoken():
    speak()

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        run = dg.execute_job(dg.reconstructable(spoken), instance)
        print(type(instance.compute_log_manager).__name__, run.success)
"""


@pytest.mark.system
def test_what_runs_print_is_kept_beside_the_data_in_the_object_store(
    object_store: ObjectStore, s3: Any, tmp_path: Path
) -> None:
    (tmp_path / "printing.py").write_text(PRINTING)
    environ = {
        **os.environ,
        "EXPORT_PIPELINE_HOME": str(tmp_path / "home"),
        "EXPORT_PIPELINE_OBJECT_STORE": "s3://exports/of/logs",
        "EXPORT_PIPELINE_S3_ENDPOINT": object_store.url,
        "EXPORT_PIPELINE_S3_REGION": "us-east-1",
    }
    program = [sys.executable, "-m", "export_pipeline.dagster_home", "--", sys.executable, "printing.py"]
    done = subprocess.run(program, env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["S3ComputeLogManager True"], done.stderr
    kept = s3.list_objects_v2(Bucket="exports", Prefix="of/logs/dagster/").get("Contents", [])
    texts = [s3.get_object(Bucket="exports", Key=each["Key"])["Body"].read() for each in kept]
    assert any(b"spoken by the run" in text for text in texts)
