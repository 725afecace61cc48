"""What a command prints: text for a person, or one JSON document; progress on a terminal."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

JSON_FLAG = "--json"

json_option = click.option(
    JSON_FLAG, is_flag=True, expose_value=False, help="Print one JSON document and nothing else."
)
"""Shows the flag in each command's help; the program itself takes it, wherever it stands."""


Progress = Callable[[int, int | None], None]
"""Told how much is done and how much there is, None if that is not known."""


def steps(progress: Progress | None) -> Callable[[int], None] | None:
    """A callback that is told how much more is done, where ``progress`` wants how much in all."""
    if progress is None:
        return None
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        progress(done, None)

    return advance


@dataclass(frozen=True)
class Output:
    """Where a command's result goes."""

    as_json: bool

    def show(self, document: Any, text: str | Callable[[], str]) -> None:
        """Print ``document`` if JSON was asked for, ``text`` otherwise."""
        if self.as_json:
            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            click.echo(text if isinstance(text, str) else text())

    @contextmanager
    def progress(self, description: str, unit: str) -> Iterator[Progress | None]:
        """A callback that moves a bar on standard error; None where nobody looks."""
        if self.as_json or not sys.stderr.isatty():
            yield None
            return
        from tqdm import tqdm

        with tqdm(desc=description, unit=unit, unit_scale=True, leave=False, file=sys.stderr) as bar:

            def move(done: int, total: int | None = None) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield move


pass_output = click.make_pass_decorator(Output)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as aligned columns under their headings; numbers to the right, thousands separated."""
    cells = [[f"{value:,}" if isinstance(value, int) else str(value) for value in row] for row in rows]
    numeric = [bool(rows) and all(isinstance(row[i], int) for row in rows) for i in range(len(headings))]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]

    def line(values: Sequence[str]) -> str:
        aligned = (
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(values, widths, numeric, strict=True)
        )
        return "  ".join(aligned).rstrip()

    return "\n".join([line(headings), line(["-" * width for width in widths]), *map(line, cells)])
