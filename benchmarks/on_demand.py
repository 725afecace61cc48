"""On demand: from POST to complete through Dagster, and days assembled against days computed."""

import shutil
import time
from datetime import date, timedelta
from statistics import median

from benchmarks.inputs import DATA_TYPE, Input, many_days, now_after, sampled_day
from benchmarks.plan import Plan
from benchmarks.report import Section, at_least, at_most
from benchmarks.serving import serving
from export_pipeline.days import days_between, utc_now
from export_pipeline.exports import Manifest, export_day, parse_request, verify, write_export
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.jobs import ON_DEMAND, OPEN
from export_pipeline.settings import Settings, variable
from export_pipeline.store import Store
from export_pipeline_tests.integration.stack import running

_WANTED_SECONDS = 12
_WANTED_RATIO = 3
_PATIENCE_SECONDS = 300
_LAST_HOUR = 23


def run(plan: Plan) -> list[Section]:
    """Both, over the days that the backfill is measured on."""
    base = sampled_day(plan.inputs, plan.small_rows)
    end = utc_now().date() - timedelta(days=10)
    given = many_days(plan.inputs, base, plan.backfill_days, plan.rows_a_day, end)
    shutil.rmtree(given.home / "dagster", ignore_errors=True)
    return [_assembled(plan, given), _asked(plan, given)]


def _assembled(plan: Plan, given: Input) -> Section:
    """The whole range computed from rows, and assembled from its daily exports."""
    settings, days = given.settings, _days(given)
    computed, assembled = [], []
    for _ in range(plan.rounds):
        shutil.rmtree(settings.exports, ignore_errors=True)
        seconds, expected = _exported(plan, settings, days)
        computed.append(seconds)
        for day in days:
            store, ledger = Store(settings), Ledger(settings)
            now = now_after(days[-1])
            export_day(DATA_TYPE, "jsonl", day, settings=settings, store=store, ledger=ledger, now=now)
        seconds, found = _exported(plan, settings, days)
        assembled.append(seconds)
        assert found.files == expected.files, "the assembled files are not those that were computed"
    ratio = median(before / after for before, after in zip(computed, assembled, strict=True))
    what = f"{given.days} days, {given.rows:,} rows"
    rows = [
        [f"{what}, computed", f"{median(computed):.2f}", "1"],
        [f"{what}, assembled", f"{median(assembled):.2f}", f"{ratio:.1f}"],
    ]
    target = at_least(f"{given.days} days assembled against computed", _WANTED_RATIO, ratio, "times as fast")
    return Section(
        "Reuse: JSONL.gz of a range, computed and assembled from daily exports",
        ["What", "seconds", "times as fast"],
        rows,
        ["The files are the same, byte for byte."],
        [target],
    )


def _exported(plan: Plan, settings: Settings, days: list[date]) -> tuple[float, Manifest]:
    out = plan.outputs / "on-demand"
    asked = {"startDate": str(days[0]), "endDate": str(days[-1])}
    now = now_after(days[-1])
    request = parse_request(asked, now=now, settings=settings)
    store, ledger = Store(settings), Ledger(settings)
    began = time.perf_counter()
    manifest = write_export(
        request, out, settings=settings, store=store, ledger=ledger, now=now, overwrite=True
    )
    seconds = time.perf_counter() - began
    shutil.rmtree(out)
    return seconds, manifest


def _asked(plan: Plan, given: Input) -> Section:
    """A day asked for by ``POST``, its status polled until it is complete."""
    settings = given.settings
    shutil.rmtree(settings.exports, ignore_errors=True)
    days = _days(given)
    seconds = []
    with running(given.home, {variable("export_hour"): str(_LAST_HOUR)}), serving(given.home) as server:
        for number in range(plan.rounds + 1):
            day = str(days[number % len(days)])
            began = time.perf_counter()
            asked = {"startDate": day, "endDate": day}
            job_id = server.call("POST", "/v1/analytics/export", json=asked)["jobId"]
            while (job := server.call("GET", f"/v1/analytics/export/{job_id}"))["status"] in OPEN:
                assert time.perf_counter() - began < _PATIENCE_SECONDS, "the job did not end"
                time.sleep(0.05)
            seconds.append(time.perf_counter() - began)
            assert job["status"] == "complete", f"the job ended as {job['status']}"
            assert verify(settings.exports / ON_DEMAND / job_id).ok
    work = f"A day of {plan.rows_a_day:,} events, from POST to complete"
    typical = median(seconds[1:])
    return Section(
        "On demand: from POST to complete",
        ["What", "seconds"],
        [[work, f"{typical:.1f}"]],
        [
            f"Each: {', '.join(f'{each:.1f} s' for each in seconds)}; "
            "the first, on a fresh stack, is left out."
        ],
        [at_most(work, _WANTED_SECONDS, typical, "s")],
    )


def _days(given: Input) -> list[date]:
    return list(days_between(given.end - timedelta(days=given.days - 1), given.end))
