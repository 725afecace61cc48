"""Executors: threads of this process, or a Dask cluster, on which the windows of an export are made.

On a cluster, tasks get and give plain data. The bytes of windows do not come back with them: a worker leaves
them as files below ``pieces``, in the tree of the exports. Owns what a lost cluster means.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from upath import UPath

from export_pipeline import locks, objects
from export_pipeline.errors import InvalidSetting, TransientError
from export_pipeline.exports.layout import PIECES
from export_pipeline.settings import Settings

_FIELD = "EXPORT_PIPELINE_SCHEDULER"
_PATIENCE_SECONDS = 30
_LOOK_SECONDS = 1
_RETRIES = 3
_LOST = "the workers that make exports were lost; try again"


class Cluster(Executor):
    """Workers of a Dask cluster; see the module."""

    def __init__(self, client: Any, pieces: UPath) -> None:
        self._inner = client.get_executor(pure=False, retries=_RETRIES)
        self._under_way: set[Future[Any]] = set()
        self.pieces = pieces
        self.threads = max(1, sum(client.nthreads().values()))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn`` on a worker; what it raises is raised, and TransientError if the cluster is lost."""
        given: Future[Any] = self._inner.submit(_run, _sources(), fn, *args, **kwargs)
        ours: Future[Any] = Future()
        self._under_way.add(ours)
        given.add_done_callback(partial(self._hand_over, ours))
        return ours

    def abandon(self) -> None:
        """Wait no longer for what is under way: each raises TransientError."""
        while self._under_way:
            with suppress(KeyError):
                ours = self._under_way.pop()
                if ours.set_running_or_notify_cancel():
                    ours.set_exception(TransientError(_LOST))

    def _hand_over(self, ours: Future[Any], given: Future[Any]) -> None:
        try:
            self._under_way.remove(ours)
        except KeyError:
            return
        if not ours.set_running_or_notify_cancel():
            return
        try:
            ours.set_result(given.result())
        except CancelledError:
            ours.set_exception(TransientError(_LOST))
        except Exception as error:
            lost = type(error).__module__.partition(".")[0] in ("distributed", "dask", "tornado")
            ours.set_exception(TransientError(_LOST) if lost else error)


@contextmanager
def _watched(client: Any, cluster: Cluster) -> Iterator[None]:
    """Abandon the cluster once it has had no worker for a while: Dask itself waits for another for ever."""
    ended = threading.Event()

    def watch() -> None:
        seen = time.monotonic()
        while not ended.wait(_LOOK_SECONDS):
            with suppress(Exception):  # a scheduler that does not answer has no workers either
                if client.nthreads(callback_timeout=_PATIENCE_SECONDS / 3):
                    seen = time.monotonic()
            if time.monotonic() - seen > _PATIENCE_SECONDS:
                cluster.abandon()
                # What is submitted later waits as long.
                seen = time.monotonic()

    watcher = threading.Thread(target=watch, name="cluster", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()


def _run(sources: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if sources != _sources():
        raise InvalidSetting(
            f"a worker of {_FIELD} runs another version of export_pipeline; install the same one there",
            field=_FIELD,
        )
    return fn(*args, **kwargs)


@lru_cache(1)
def _sources() -> str:
    """What tells this version of the package, and of what makes its bytes, from another."""
    root, found = Path(__file__).parents[1], sha256()
    for path in sorted(path for folder in ("exports", "events", ".") for path in root.glob(f"{folder}/*.py")):
        found.update(path.read_bytes())
    for library in ("duckdb", "isal", "numba", "pyarrow", "zlib-ng"):
        found.update(version(library).encode())
    return found.hexdigest()


def spill() -> str:
    """The folder of this worker for what does not fit into memory; its successor clears it."""
    from distributed import get_worker

    return str(Path(get_worker().local_directory) / "spill")


@contextmanager
def threads(settings: Settings, executor: Executor | None) -> Iterator[Executor]:
    """``executor``, or threads as many as the settings say, for the length of the block.

    For what stays on this machine, such as files for the caller, or is short against the way to a cluster.
    """
    if executor is not None:
        yield executor
        return
    made = ThreadPoolExecutor(settings.workers, thread_name_prefix="export")
    try:
        yield made
    finally:
        made.shutdown(cancel_futures=True)


@contextmanager
def makers(settings: Settings, executor: Executor | None) -> Iterator[Executor]:
    """``executor``, or what the settings say: the workers of a cluster, or threads.

    Raises:
        TransientError: if the cluster does not answer.
        InvalidSetting: if what is needed for clusters is not installed.
    """
    if executor is not None or not settings.scheduler:
        with threads(settings, executor) as made:
            yield made
        return
    name = uuid.uuid4().hex
    with locks.lock(settings, f"making-{PIECES}-{name}"), _client(settings) as client:
        pieces = settings.exports / PIECES / name
        cluster = Cluster(client, pieces)
        try:
            with _watched(client, cluster):
                yield cluster
        finally:
            if objects.is_remote(pieces) or pieces.exists():
                objects.remove(pieces)


@contextmanager
def _client(settings: Settings) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise InvalidSetting(
            f"{_FIELD} is set; it needs `pip install 'export_pipeline[distributed]'`", field=_FIELD
        ) from None
    try:
        client = Client(  # type: ignore[no-untyped-call]
            settings.scheduler, timeout=_PATIENCE_SECONDS, set_as_default=False
        )
    except OSError:
        raise TransientError(f"the scheduler at {settings.scheduler} does not answer; try again") from None
    try:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE_SECONDS)
        except (OSError, TimeoutError):
            raise TransientError(f"no worker has joined the scheduler at {settings.scheduler}") from None
        yield client
    finally:
        client.close(timeout=5)  # type: ignore[no-untyped-call]
