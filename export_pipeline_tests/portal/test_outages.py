"""The portal while the object store does not answer: what the ledger knows is shown, and the rest is said."""

from collections.abc import Iterator

import pytest

from export_pipeline_tests.faultproxy import FaultProxy
from export_pipeline_tests.portal.conftest import Opening, Portal, texts

pytestmark = pytest.mark.system


@pytest.fixture
def backend() -> str:
    return "s3"


@pytest.fixture
def cut_off(opening: Opening, proxy: FaultProxy) -> Iterator[Portal]:
    """A portal with a day of rows whose store has just gone."""
    portal = opening(rows=True, s3_endpoint=proxy.url)
    portal.log_in()
    proxy.down = True
    yield portal
    proxy.down = False


def test_the_pages_are_there_and_say_what_is_not_known(cut_off: Portal) -> None:
    status = cut_off.get("/status")
    assert status.status_code == 200
    assert "cannot be looked at now" in texts(status)
    assert "No delivery has failed" in texts(status)
    exports = cut_off.get("/exports")
    assert exports.status_code == 200
    assert "How large it will be is not known: data cannot be reached" in texts(exports)
    assert cut_off.get("/schedules").status_code == 200
