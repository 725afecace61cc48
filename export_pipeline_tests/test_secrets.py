"""Keys are made once, whoever asks first, and nobody but the operator can read them."""

import stat
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from export_pipeline.secrets import KEY_BYTES, key
from export_pipeline.settings import Settings

THREADS = 16


def test_threads_that_ask_first_at_the_same_time_get_the_same_key(settings: Settings) -> None:
    together = Barrier(THREADS)

    def ask(_: int) -> bytes:
        together.wait()
        return key(settings, "links")

    with ThreadPoolExecutor(THREADS) as threads:
        [made] = set(threads.map(ask, range(THREADS)))
    assert len(made) == KEY_BYTES
    assert key(settings, "links") == made


def test_a_key_is_readable_by_its_owner_alone_and_nothing_else_stays(settings: Settings) -> None:
    key(settings, "links")
    [path] = (settings.root / "secrets").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
