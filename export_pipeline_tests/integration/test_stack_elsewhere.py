"""The running product on S3 and PostgreSQL: what lands in the bucket is exported by a backfill, all there."""

from datetime import timedelta
from pathlib import Path

import pytest

from export_pipeline import objects
from export_pipeline.days import utc_now
from export_pipeline.events.catalogue import DATA_TYPES
from export_pipeline.events.sample import write_sample
from export_pipeline.exports import live_daily, verify
from export_pipeline.settings import Settings
from export_pipeline_tests.integration import queries
from export_pipeline_tests.integration.stack import eventually, running

pytestmark = pytest.mark.soak


@pytest.fixture
def backend() -> str:
    return "s3+postgres"


def test_what_lands_in_the_bucket_is_ingested_and_backfilled_there(
    settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    day = utc_now().date() - timedelta(days=10)
    given = environment | {"EXPORT_PIPELINE_FIRST_DAY": str(day - timedelta(days=5))}
    with running(settings.home, given) as stack:
        write_sample(tmp_path / "source", 1, day, 3000, 50, 1, None)
        for file in (path for path in (tmp_path / "source").rglob("*") if path.is_file()):
            name = file.relative_to(tmp_path / "source").as_posix()
            objects.write(settings.landing / name, file.read_bytes())
        names = [data_type.table for data_type in DATA_TYPES.values()]
        eventually(
            "the landed objects are ingested",
            lambda: all(str(day) in queries.shown(stack, name) for name in names),
        )
        started = queries.backfill(stack, [f"{names[0]}_jsonl", f"{names[0]}_csv"], [str(day)])
        status = eventually(
            "the backfill ends",
            lambda: next((s for s in [queries.backfill_status(stack, started)] if s != "REQUESTED"), None),
            240,
        )
        assert status == "COMPLETED_SUCCESS"
    for format in ("jsonl", "csv"):
        live = live_daily(settings, "events", format, day)
        assert live is not None
        assert live.rows > 0
    assert verify(settings.exports).ok
    assert list(objects.files_below(settings.landing)) == []
    assert not [path for path in settings.root.rglob("*.db") if path.is_file()]
    printed = settings.data / "dagster" / "storage"
    assert any(path.suffix in (".err", ".out") for path, _, _ in objects.files_below(printed))
