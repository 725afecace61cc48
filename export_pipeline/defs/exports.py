"""The daily exports as assets: one a data type and format, by one factory, each day a partition."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import date, timedelta

import dagster as dg

from export_pipeline.days import MAX_RANGE_DAYS, utc_now
from export_pipeline.defs.deployment import OWNERS, Deployment
from export_pipeline.defs.failures import told_in_words
from export_pipeline.defs.partitions import daily
from export_pipeline.errors import DamagedData
from export_pipeline.events.catalogue import DATA_TYPES, DataType
from export_pipeline.exports import DailyExport, export_days, preview
from export_pipeline.exports.layout import MANIFEST
from export_pipeline.exports.manifest import Replaces
from export_pipeline.exports.request import FORMATS
from export_pipeline.exports.volume import DAYS_BEFORE, volume_warning
from export_pipeline.failures import in_words, may_pass
from export_pipeline.ingest import waiting_for
from export_pipeline.ledger import DayState
from export_pipeline.operations.restatement import Stale, stale_exports
from export_pipeline.settings import Settings

GROUP = "exports"
CODE_VERSION = "1"
TRIES, PAUSE_SECONDS = 3, 10
HOURS_TO_FRESH = 3
MOST_NAMED = 10

READ_BACK, ROW_COUNT, VOLUME, UP_TO_DATE = "read_back", "row_count", "volume", "up_to_date"

Events = Iterator[dg.AssetMaterialization | dg.AssetCheckResult | dg.MaterializeResult[None]]


def export_key(data_type: str, format_: str) -> dg.AssetKey:
    """The asset of a data type's daily exports in a format."""
    return dg.AssetKey(f"{DATA_TYPES[data_type].table}_{format_}")


def export_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """One asset a data type and format."""
    return [
        _export_asset(settings, data_type, format_)
        for data_type in DATA_TYPES.values()
        for format_ in FORMATS
    ]


def _export_asset(settings: Settings, data_type: DataType, format_: str) -> dg.AssetsDefinition:
    key = export_key(data_type.name, format_)

    @dg.asset(
        key=key,
        deps=[data_type.table],
        description=f"A day of `{data_type.name}` as verified {format_.upper()} files with a manifest, at "
        f"`exports/daily/{data_type.name}/{format_}/<day>/v<N>/`. When the day's rows have changed, the next "
        "version is made; otherwise materializing again finds the same files.",
        group_name=GROUP,
        owners=OWNERS,
        kinds={format_, "duckdb", "file"},
        tags={"data_type": data_type.name, "format": format_},
        partitions_def=daily(settings),
        # A run costs seconds to start and a day often less than one to make; a month is a run.
        backfill_policy=dg.BackfillPolicy.multi_run(MAX_RANGE_DAYS),
        freshness_policy=dg.FreshnessPolicy.cron(
            deadline_cron=f"0 {(settings.export_hour + HOURS_TO_FRESH) % 24} * * *",
            lower_bound_delta=timedelta(hours=HOURS_TO_FRESH),
        ),
        pool="exports",
        code_version=CODE_VERSION,
        check_specs=_check_specs(key),
    )
    def export(context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]) -> Events:
        days = [date.fromisoformat(partition) for partition in context.partition_keys]
        yield from _materialize(context, deployment, data_type.name, format_, days)

    return export


def _check_specs(key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    descriptions = {
        READ_BACK: "Other code and libraries than the writer's found rows, hashes, schema and order right.",
        ROW_COUNT: "The files of each day hold as many rows as the ledger counts for the day.",
        VOLUME: "Each day has rows, and at least a tenth of the median of the seven days before.",
        UP_TO_DATE: "No rows came for a day since its export was made. Where some did, the sensor "
        "`restatements` makes the next version.",
    }
    return [
        dg.AssetCheckSpec(name, asset=key, description=f"{text} A verdict names the days.")
        for name, text in descriptions.items()
    ]


def _materialize(
    context: dg.AssetExecutionContext,
    deployment: Deployment,
    data_type: str,
    format_: str,
    days: Sequence[date],
) -> Events:
    """Export each day on its own: one that fails leaves the others materialised and fails the run."""
    made: dict[date, DailyExport] = {}
    failed: dict[date, Exception] = {}
    try:
        with closing(_exported(deployment, data_type, format_, days)) as exported:
            for day, made_or_error in exported:
                if isinstance(made_or_error, Exception):
                    failed[day] = made_or_error
                    context.log.error(f"{day}: {in_words(made_or_error)}")
                else:
                    made[day] = made_or_error
                    context.log.info(f"{day}: {_told(made_or_error)}")
    except dg.DagsterExecutionInterruptedError:
        yield from _recorded(data_type, format_, made)
        raise

    if any(map(may_pass, failed.values())) and context.retry_number + 1 < TRIES:
        # The days that are made already are found as they are by the next try.
        raise dg.RetryRequested(max_retries=TRIES - 1, seconds_to_wait=PAUSE_SECONDS)

    if failed:
        yield from _recorded(data_type, format_, made)
    else:
        for day, export in made.items():
            context.add_asset_metadata(_metadata(export), partition_key=day.isoformat())
        yield dg.MaterializeResult()
    yield from _checks(deployment, data_type, format_, made, failed)
    if failed:
        raise dg.Failure(
            f"{len(failed)} of {len(days)} days failed. {_listed(failed)}",
            metadata={"failedDays": [str(day) for day in sorted(failed)]},
            allow_retries=False,
        )


def _exported(
    deployment: Deployment, data_type: str, format_: str, days: Sequence[date]
) -> Generator[tuple[date, DailyExport | Exception], None, None]:
    settings, ledger = deployment.settings, deployment.ledger
    return export_days(
        data_type,
        format_,
        days,
        settings=settings,
        store=deployment.store,
        ledger=ledger,
        waiting=waiting_for(settings, ledger),
        now=utc_now(),
    )


def _recorded(
    data_type: str, format_: str, made: Mapping[date, DailyExport]
) -> Iterator[dg.AssetMaterialization]:
    for day, export in made.items():
        yield materialization(data_type, format_, day, export)


def materialization(data_type: str, format_: str, day: date, export: DailyExport) -> dg.AssetMaterialization:
    """What Dagster is told of a partition made outside of a run of its asset."""
    return dg.AssetMaterialization(
        export_key(data_type, format_), partition=day.isoformat(), metadata=_metadata(export)
    )


def _metadata(export: DailyExport) -> dict[str, dg.MetadataValue]:
    """What the UI shows of a day's export; the numbers are plotted over the days."""
    manifest = export.manifest
    replaces = manifest.replaces
    told = f"version {replaces.version}: {replaced(replaces)}" if replaces else "nothing"
    return {
        "rows": dg.MetadataValue.int(manifest.row_count),
        "bytes": dg.MetadataValue.int(manifest.total_bytes),
        "seconds": dg.MetadataValue.float(round(export.seconds, 3)),
        "parts": dg.MetadataValue.int(len(manifest.files)),
        "dataVersion": dg.MetadataValue.int(manifest.days[0].data_version),
        "version": dg.MetadataValue.int(manifest.version),
        "replaces": dg.MetadataValue.text(told),
        "exportId": dg.MetadataValue.text(manifest.export_id),
        "complete": dg.MetadataValue.bool(manifest.complete),
        "sha256": dg.MetadataValue.md("\n".join(f"- {f.name}: `{f.sha256}`" for f in manifest.files)),
        "directory": dg.MetadataValue.path(str(export.path)),
        "manifest": dg.MetadataValue.path(str(export.path / MANIFEST)),
        "preview": dg.MetadataValue.md(told_in_words(lambda: _preview(export))),
    }


def replaced(replaces: Replaces) -> str:
    """What a version changed of the one before it, in words."""
    return f"{replaces.rows_added:,} rows came and {replaces.rows_removed:,} went"


def _preview(export: DailyExport) -> str:
    return str(preview(export.path, export.manifest).to_markdown(index=False))


def _told(export: DailyExport) -> str:
    manifest = export.manifest
    rows = f"{manifest.row_count:,} rows, {manifest.total_bytes:,} bytes, version {manifest.version}"
    made = f"made in {export.seconds:.1f} s" if export.created else "there already, unchanged"
    closed = "" if manifest.complete else "; the day is not closed, so the export is not complete"
    return f"{rows}, {made}{closed}"


def _checks(
    deployment: Deployment,
    data_type: str,
    format_: str,
    made: Mapping[date, DailyExport],
    failed: Mapping[date, Exception],
) -> Iterator[dg.AssetCheckResult]:
    key = export_key(data_type, format_)
    damaged = {day: error for day, error in failed.items() if isinstance(error, DamagedData)}
    if damaged:
        yield dg.AssetCheckResult(
            asset_key=key, check_name=READ_BACK, passed=False, description=_listed(damaged)
        )
    if not made:
        return
    if not damaged:
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=READ_BACK,
            passed=True,
            description=f"{_span(made)}: rows, hashes, schema and order were read back right.",
        )
    known = deployment.ledger.read_days(data_type, min(made) - timedelta(days=DAYS_BEFORE), max(made))
    mismatches = [text for day, export in sorted(made.items()) if (text := _mismatch(export, known[day]))]
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=ROW_COUNT,
        passed=not mismatches,
        description=" ".join(mismatches) or f"{_span(made)}: the files hold every row of the store.",
    )
    unusual = [text for day in sorted(made) if (text := volume_warning(known, day))]
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=VOLUME,
        passed=not unusual,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{'. '.join(unusual)}." if unusual else f"{_span(made)}: nothing unusual.",
    )
    stale = list(stale_exports(deployment.settings, deployment.ledger, utc_now(), (data_type, format_)))
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=UP_TO_DATE,
        passed=not stale,
        severity=dg.AssetCheckSeverity.WARN,
        description=staleness(stale) if stale else f"{_span(made)}: the files hold all that came.",
    )


def staleness(stale: Sequence[Stale]) -> str:
    """What is said of the days of an asset that are stale, at most a few by name."""
    more = f" And {len(stale) - MOST_NAMED} more days." if len(stale) > MOST_NAMED else ""
    named = " ".join(map(str, stale[:MOST_NAMED]))
    return f"{named}{more}" if stale else "Every export holds what came for its day."


def _mismatch(export: DailyExport, state: DayState) -> str | None:
    day = export.manifest.days[0]
    if day.data_version == state.version and export.manifest.row_count != state.rows:
        return f"{day.date}: {export.manifest.row_count:,} rows in the files, {state.rows:,} in the store."
    return None


def _span(days: Iterable[date]) -> str:
    ordered = sorted(days)
    return str(ordered[0]) if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]} ({len(ordered)} days)"


def _listed(failed: Mapping[date, Exception]) -> str:
    return " ".join(f"{day}: {in_words(error)}." for day, error in sorted(failed.items()))
