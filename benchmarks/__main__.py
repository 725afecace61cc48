"""``python -m benchmarks [NAME…] [--rows N] [--rounds N] [--quick] [--workdir DIR] [--results FILE]``."""

import argparse
import importlib
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.plan import Plan, quick
from benchmarks.report import Section, document

NAMES = ("comparison", "limit", "growth", "arriving", "person", "backfill", "startup")


def main(arguments: list[str]) -> int:
    """Run the benchmarks named (default: all) and print what was measured, as Markdown.

    Exit code 1 if a writer's rows are not the store's or a benchmark fails; a target that is not reached is
    reported and is no failure.
    """
    given = _parser().parse_args(arguments)
    workdir = given.workdir.absolute()
    plan = quick(workdir) if given.quick else Plan(workdir)
    for name in ("rows", "rounds"):
        if (value := getattr(given, name)) is not None:
            plan = replace(plan, **{name: value})
    sections: list[Section] = []
    load: list[float] = []
    began = time.monotonic()
    for name in given.names or NAMES:
        load.append(os.getloadavg()[0])
        print(f"{name} …", file=sys.stderr, flush=True)
        sections += importlib.import_module(f"benchmarks.{name}").run(plan)
    text = document(sections, load, time.monotonic() - began)
    print(text)
    if given.results:
        given.results.write_text(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*NAMES, []], help=", ".join(NAMES))
    parser.add_argument("--rows", type=_count, help="rows of the day that is exported, about (5,000,000)")
    parser.add_argument("--rounds", type=_count, help="how often each figure is taken (3)")
    parser.add_argument("--quick", action="store_true", help="tiny inputs, to see that everything runs")
    parser.add_argument(
        "--workdir",
        type=Path,
        default=Path(tempfile.gettempdir(), "export-pipeline-benchmarks"),
        help="where inputs are kept between runs, about 4 GB (%(default)s)",
    )
    parser.add_argument("--results", type=Path, help="a file for what is printed")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
