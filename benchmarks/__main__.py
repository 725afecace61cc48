"""``python -m benchmarks [NAME…] [--rows N] [--rounds N] [--quick] [--workdir DIR] [--results FILE]``."""

import argparse
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.equality import NotEqual
from benchmarks.plan import Plan, quick
from benchmarks.report import Section, document

NAMES = (
    "comparison",
    "limit",
    "growth",
    "arriving",
    "person",
    "privacy",
    "erasure",
    "backfill",
    "on_demand",
    "api",
    "portal",
    "deliveries",
    "metrics",
    "retention",
    "late",
    "objects",
    "cluster",
    "idle",
    "startup",
)


def main(arguments: list[str]) -> int:
    """Run the benchmarks named (default: all) and print what was measured, as Markdown.

    Exit code 1 if a peer is not installed or a writer's rows are not the store's. A target that is not
    reached is reported, and is no failure.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    for name in given.names:
        if name not in NAMES:
            parser.error(f"NAME is {name}; it must be one of {', '.join(NAMES)}")
    workdir = given.workdir.absolute()
    plan = quick(workdir) if given.quick else Plan(workdir)
    for name in ("rows", "rounds"):
        if (value := getattr(given, name)) is not None:
            plan = replace(plan, **{name: value})
    plan.sweep()
    try:
        text = _measured(given.names or NAMES, plan)
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed; `make bench` installs what is measured", file=sys.stderr)
        return 1
    except NotEqual as error:
        print(f"no figures: {error}", file=sys.stderr)
        return 1
    print(text)
    if given.results:
        given.results.write_text(text)
    return 0


def _measured(names: Sequence[str], plan: Plan) -> str:
    sections: list[Section] = []
    load: list[float] = []
    began = time.monotonic()
    for name in names:
        load.append(os.getloadavg()[0])
        print(f"{name} …", file=sys.stderr, flush=True)
        for section in importlib.import_module(f"benchmarks.{name}").run(plan):
            print(f"\n{section.text()}\n", file=sys.stderr, flush=True)
            sections.append(section)
    return document(sections, load, time.monotonic() - began)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Run benchmarks (default: all) and print what was measured, as Markdown.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--rows", type=_count, help="rows of the day that is exported, about (5000000)")
    parser.add_argument("--rounds", type=_count, help="how often each figure is taken (3)")
    parser.add_argument("--quick", action="store_true", help="tiny inputs, to see that everything runs")
    parser.add_argument(
        "--workdir",
        type=Path,
        default=Path(tempfile.gettempdir(), "export-pipeline-benchmarks"),
        help="where inputs are kept between runs, about 5 GB (%(default)s)",
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
