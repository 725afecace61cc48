"""Erasure in Dagster: the job of visible steps, and the sensor that turns requests into runs.

A run carries the id of a request in its config and as a tag, and never an id of a person. Requests that
wait together are worked on by the run of the first of them.
"""

from datetime import date
from functools import partial
from pathlib import PurePosixPath

import dagster as dg
from dagster._core.storage.tags import MAX_RETRIES_TAG, MAX_RUNTIME_SECONDS_TAG, PRIORITY_TAG
from pydantic import Field

from export_pipeline.days import utc_now
from export_pipeline.defs.deployment import OWNERS, Deployment
from export_pipeline.defs.exports import materialization
from export_pipeline.defs.failures import told_in_words
from export_pipeline.defs.requests import tries
from export_pipeline.exports import live_daily
from export_pipeline.ledger.erasures import MAX_ATTEMPTS, PROCESSING
from export_pipeline.locks import is_held
from export_pipeline.privacy.certificates import kept_at
from export_pipeline.privacy.erasing import INTERRUPTED, STEPS, take_step
from export_pipeline.privacy.passes import LOCK
from export_pipeline.privacy.requests import shown
from export_pipeline.privacy.restating import rewritten

JOB = "erasure"
REQUEST_TAG = "export_pipeline/erasure"
LONGEST_SECONDS = 6 * 3600
RETRY_SECONDS = 2
"""After how long a step that may work the next time is taken again; later the next time."""

_DESCRIPTIONS = {
    "resolve": "Finds out which anonymous ids belong to the people, and which are contested.",
    "suppress": "Refuses their events from now on, ends exports that name them, takes in what has landed.",
    "erase_store": "Removes their rows and ids from every table, and the files that held them from disk.",
    "rewrite_exports": "Publishes the next version of every export that holds anything of them.",
    "purge": "Clears archives of access exports, the quarantine, the ledger and scratch files.",
    "scan": "Searches every byte of the deployment for their ids, and fails if any is left.",
    "certify": "Signs a certificate for each request, and forgets who it was about.",
}


class ErasureForm(dg.Config):
    """Whom to erase: by the id of a request, as anybody can read this."""

    request_id: str = Field(description="The id (era_…) of a request made by API, portal or command.")


def _op(name: str) -> dg.OpDefinition:
    first = name == next(iter(STEPS))

    @dg.op(
        name=name,
        description=_DESCRIPTIONS[name],
        ins={} if first else {"after": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        retry_policy=dg.RetryPolicy(max_retries=2, delay=RETRY_SECONDS, backoff=dg.Backoff.EXPONENTIAL),
    )
    def step(
        context: dg.OpExecutionContext, config: ErasureForm, deployment: dg.ResourceParam[Deployment]
    ) -> None:
        request_id = config.request_id
        if first:
            context.instance.add_run_tags(context.run_id, {REQUEST_TAG: request_id})
        counts = told_in_words(
            lambda: take_step(
                deployment.settings, deployment.store, deployment.ledger, request_id, name, utc_now()
            ),
            again=True,
        )
        if name == "rewrite_exports":
            _tell_of_days(context, deployment, request_id)
        context.add_output_metadata({"requestId": request_id, **counts, **_state(deployment, request_id)})

    return step


def _tell_of_days(context: dg.OpExecutionContext, deployment: Deployment, request_id: str) -> None:
    """Let the assets show the version of each day that took the place of what was erased from."""
    pass_id = deployment.ledger.erasures.get(request_id).pass_id
    for export in rewritten(deployment.ledger, pass_id) if pass_id else ():
        kind, *place = PurePosixPath(export["path"]).parts
        if kind == "daily":
            data_type, format_, day = place[0], place[1], date.fromisoformat(place[2])
            live = told_in_words(partial(live_daily, deployment.settings, data_type, format_, day))
            if live is not None:
                context.log_event(materialization(data_type, format_, day, live))


def _state(deployment: Deployment, request_id: str) -> dict[str, dg.MetadataValue]:
    request = deployment.ledger.erasures.get(request_id)
    together = deployment.ledger.erasures.together(request.pass_id) if request.pass_id else (request,)
    told = [shown(deployment.ledger, each) for each in together]
    metadata: dict[str, dg.MetadataValue] = {"requests": dg.MetadataValue.json(told)}
    if request.certificate is not None:
        path = kept_at(deployment.settings, request.certificate)
        metadata["certificate"] = dg.MetadataValue.path(str(path))
    return metadata


@dg.config_mapping
def _same_for_all(form: ErasureForm) -> dg.RunConfig:
    """One form for the job; every step gets it."""
    return dg.RunConfig(ops=dict.fromkeys(STEPS, form))


@dg.job(
    name=JOB,
    description="Erases the people of a request and proves it. Its form takes the id of a request; "
    "requests are started by the `erasures` sensor, those that wait together as one run. Every step is safe "
    "to repeat.",
    owners=OWNERS,
    executor_def=dg.in_process_executor,
    config=_same_for_all,
    tags={
        PRIORITY_TAG: "30",
        MAX_RUNTIME_SECONDS_TAG: str(LONGEST_SECONDS),
        # The sensor sees to further tries, as the ledger counts them.
        MAX_RETRIES_TAG: "0",
    },
)
def erasure_job() -> None:
    """The steps, one after the other."""
    before = None
    for name in STEPS:
        before = _op(name)() if before is None else _op(name)(after=before)


def erasures_sensor() -> dg.SensorDefinition:
    """A sensor that starts a run for the requests that wait, one run at a time."""

    @dg.sensor(
        name="erasures",
        job=erasure_job,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts erasures that were asked for, all that wait in one run; starts those whose run "
        f"died again, {MAX_ATTEMPTS} times at most.",
        owners=OWNERS,
    )
    def sensor(
        context: dg.SensorEvaluationContext, deployment: dg.ResourceParam[Deployment]
    ) -> dg.RunRequest | dg.SkipReason:
        ledger, now = deployment.ledger, utc_now()
        waiting = sorted(ledger.erasures.open(), key=lambda each: each.state != PROCESSING)
        if not waiting:
            return dg.SkipReason("Nobody is to be erased.")
        first, request_id = waiting[0], waiting[0].pass_id or waiting[0].id
        tried = tries(context.instance, JOB, REQUEST_TAG, request_id, first.attempt)
        if tried.is_coming(now):
            return dg.SkipReason(f"{request_id} is worked on; {len(waiting)} requests are open.")
        if is_held(deployment.settings, LOCK):
            return dg.SkipReason(f"A command is erasing; {len(waiting)} requests are open.")
        if tried.is_given_up(MAX_ATTEMPTS):
            ledger.erasures.fail(request_id, "INTERNAL_ERROR", INTERRUPTED, now)
            return dg.SkipReason(f"{request_id} was interrupted each time it was tried.")
        return dg.RunRequest(
            run_key=tried.run_key,
            run_config={"request_id": request_id},
            tags={REQUEST_TAG: request_id},
        )

    return sensor


def erasure() -> dg.Definitions:
    """The job and its sensor."""
    return dg.Definitions(jobs=[erasure_job], sensors=[erasures_sensor()])
