"""Every command keeps the same manners: exit codes, one line for an error, JSON where it is asked for."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from export_pipeline.cli.program import program
from export_pipeline.days import utc_now
from export_pipeline.settings import Settings
from export_pipeline_tests.cli.conftest import Run


def test_the_module_and_the_script_are_the_same_command() -> None:
    script = Path(sys.executable).with_name("export-pipeline")
    outputs = [
        subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
        for command in ([str(script)], [sys.executable, "-m", "export_pipeline"])
    ]
    assert outputs[0] == outputs[1]
    assert "Usage: export-pipeline" in outputs[0]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from export_pipeline.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'duckdb', 'pyarrow', 'pandas', 'pyiceberg', 'sqlalchemy', 'dagster', 'numpy', 'pydantic'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_and_option_explains_itself() -> None:
    commands = dict(program.commands)
    for name, group in program.commands.items():
        if isinstance(group, click.Group):
            commands |= {f"{name} {inner}": command for inner, command in group.commands.items()}
    for name, command in commands.items():
        assert command.help, name
        for option in command.params:
            assert isinstance(option, click.Argument) or getattr(option, "help", None), (name, option.name)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["query"],
        ["export", "--start", "2026-11-01"],
        ["export", "--start", "yesterday", "--end", "2026-11-01", "--out", "out"],
        ["sample", "--to", "x", "--days", "0"],
        ["verify", "/does/not/exist"],
        ["settings", "--nonsense"],
    ],
)
def test_a_wrong_call_exits_2_with_one_line(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert result.err.startswith("export-pipeline: ")


@pytest.mark.parametrize("arguments", [[], ["quarantine"]])
def test_a_call_without_a_command_shows_the_commands(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "Commands:\n  " in result.err


def test_a_directory_that_cannot_be_made_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    days = ("--start", utc_now().date(), "--end", utc_now().date())
    result = run("export", *days, "--out", tmp_path / "file" / "out")
    assert result.code == 1
    assert result.err == f"export-pipeline: {tmp_path / 'file'} cannot be used: File exists\n"


def test_a_setting_that_cannot_be_used_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_PIPELINE_WORKERS", "many")
    result = run("status")
    assert result.code == 2
    assert "EXPORT_PIPELINE_WORKERS is 'many'" in result.err


@pytest.mark.parametrize("name", ["what?", "a#b", "a\nb"])
def test_a_root_that_locations_cannot_name_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("EXPORT_PIPELINE_HOME", str(tmp_path / name))
    result = run("status")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "EXPORT_PIPELINE_HOME is" in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_setting_that_does_not_exist_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_PIPELINE_WORKRES", "2")
    assert "EXPORT_PIPELINE_WORKRES is not a setting" in run("status").err


def test_a_defect_is_one_line_without_a_traceback_or_the_text_of_the_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("row of user_00000001 is odd")

    monkeypatch.setattr("export_pipeline.settings.load", fail)
    result = run("settings")
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "RuntimeError" in result.err
    assert "user_00000001" not in result.err


@pytest.mark.parametrize("arguments", [["--json", "settings"], ["settings", "--json"]])
def test_json_can_stand_anywhere(run: Run, arguments: list[str], settings: Settings) -> None:
    described = {s["variable"]: s for s in run(*arguments).document["settings"]}
    assert described["EXPORT_PIPELINE_HOME"]["value"] == str(settings.root)
    assert described["EXPORT_PIPELINE_HOME"]["source"] == "environment"
    assert described["EXPORT_PIPELINE_EXPORT_HOUR"]["source"] == "default"


def test_settings_for_a_person_names_each_variable_with_its_meaning(run: Run) -> None:
    out = run("settings").out
    assert "EXPORT_PIPELINE_RAW_RETENTION_DAYS" in out
    assert "Days that raw events are kept" in out


def test_query_prints_rows_as_json(run: Run) -> None:
    result = run("query", "select 1 as n, 'é' as t, null as x, date '2026-01-02' as d", "--json")
    assert result.document == [{"n": 1, "t": "é", "x": None, "d": "2026-01-02"}]


def test_query_prints_values_that_json_has_no_type_for(run: Run) -> None:
    sql = (
        "select [1, 2] as l, {'a': [date '2026-01-02']} as s, map {'k': 1.5::double} as m, "
        "'nan'::double as f, 1.50::decimal(4, 2) as d, '\\xFF'::blob as b, interval 1 day as i, "
        "timestamp '2026-01-02 03:04:05' as t"
    )
    [row] = run("query", sql, "--json").document
    assert (row["l"], row["s"], row["m"]) == ([1, 2], {"a": ["2026-01-02"]}, {"k": 1.5})
    assert (row["f"], row["d"], row["b"]) == (None, "1.50", "\\xff")
    assert (row["i"], row["t"]) == ("1 day, 0:00:00", "2026-01-02 03:04:05")


@pytest.mark.parametrize("as_json", [["--json"], []])
def test_a_query_that_fails_while_it_runs_is_a_wrong_call(run: Run, as_json: list[str]) -> None:
    result = run("query", "select cast(n as int) from (values ('1'), ('x')) as t(n)", *as_json)
    assert (result.code, result.out) == (2, "")
    assert result.err.count("\n") == 1
    assert "Conversion Error" in result.err
    assert "'x'" not in result.err


def test_query_refuses_two_columns_of_one_name_that_json_cannot_hold(run: Run) -> None:
    assert "two columns called a" in run("query", "select 1 as a, 2 as a", "--json").err


def test_query_prints_a_table_for_a_person(run: Run) -> None:
    assert "engagement_events" in run("query", "show tables").out
