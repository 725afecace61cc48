"""Reading ids from standard input, where they are not among a command's arguments, which others can see."""

import sys
from collections.abc import Callable
from typing import Any

import click


def stdin_option(described: str) -> Callable[[Any], Any]:
    """The flag ``--stdin``, given to the command as ``from_stdin``."""
    return click.option("--stdin", "from_stdin", is_flag=True, help=described)


def lines_of_stdin() -> list[str]:
    """What is given on standard input, one a line, empty lines left out."""
    return list(filter(None, (line.rstrip("\r\n") for line in sys.stdin)))
