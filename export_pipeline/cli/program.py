"""The program: its commands, its exit codes, and how an error is told.

Exit code 0 is success, 2 a wrong call, 1 a failure; an error is one line on standard error.
"""

import sys
from collections.abc import Sequence

import click

from export_pipeline.cli import (
    data,
    exporting,
    jobs,
    operations,
    quarantine,
    schedules,
    serving,
    users,
    webhooks,
)
from export_pipeline.cli.output import JSON_FLAG, Output
from export_pipeline.errors import ExportPipelineError, InvalidRequest

PROGRAM = "export-pipeline"
FAILURE, WRONG_CALL = 1, 2


@click.group(PROGRAM, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="export_pipeline", prog_name=PROGRAM)
def program() -> None:
    """Takes analytics events in and exports them as verified JSON Lines and CSV files.

    Settings are environment variables; `export-pipeline settings` lists them.
    """


for module in (data, exporting, jobs, schedules, serving, webhooks, users, quarantine, operations):
    for command in module.COMMANDS:
        program.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command of ``arguments`` (default: the process's) and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own = given.index("--") if "--" in given else len(given)
    as_json = JSON_FLAG in given[:own]
    rest = [word for word in given[:own] if word != JSON_FLAG] + given[own:]
    try:
        code = program.main(rest, PROGRAM, standalone_mode=False, obj=Output(as_json))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(WRONG_CALL)
    except click.ClickException as error:
        _tell(error.format_message().replace("\n", " "))
        sys.exit(WRONG_CALL if isinstance(error, click.UsageError) else FAILURE)
    except ExportPipelineError as error:
        _tell(error.message)
        sys.exit(WRONG_CALL if isinstance(error, InvalidRequest) else FAILURE)
    except (click.Abort, KeyboardInterrupt):
        _tell("interrupted")
        sys.exit(FAILURE)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(FAILURE)
    except Exception as error:
        _tell(_in_words(error))
        sys.exit(FAILURE)
    sys.exit(code if isinstance(code, int) else 0)


def _in_words(error: Exception) -> str:
    # Its libraries take long to load, which a command that succeeds would wait for in vain.
    from export_pipeline.failures import defect, meaning

    if meant := meaning(error):
        return meant.message
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename} cannot be used: {error.strerror}"
    return f"unexpected {defect(error)}; this is a defect"


def _tell(message: str) -> None:
    click.echo(f"{PROGRAM}: {' '.join(message.split())}", err=True)
