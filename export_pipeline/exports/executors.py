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

from export_pipeline import composing, locks
from export_pipeline.errors import InvalidSetting, TransientError
from export_pipeline.exports.layout import PIECES
from export_pipeline.exports.publishing import making_lock, sweep_unpublished
from export_pipeline.outages import answering
from export_pipeline.settings import Settings

_FIELD = "EXPORT_PIPELINE_SCHEDULER"
_PATIENCE_SECONDS = 30
_LOOK_SECONDS = 1
_RETRIES = 3
_ANSWER_SECONDS = 10
_CLOSE_SECONDS = 5
_DASK = ("distributed", "dask", "tornado")
_NOT_LOADED = "deserialization of the task graph"
_LOST = "the workers that make exports were lost, their logs say why; try again"


class Cluster(Executor):
    """Workers of a Dask cluster; see the module.

    Raises:
        TransientError: if the cluster is lost.
    """

    def __init__(self, client: Any, pieces: UPath) -> None:
        self._inner = client.get_executor(pure=False, retries=_RETRIES)
        self._under_way: set[Future[Any]] = set()
        self._pieces = pieces
        with _told():
            try:
                self.threads = max(1, sum(client.nthreads(callback_timeout=_ANSWER_SECONDS).values()))
            except TimeoutError:
                raise TransientError(_LOST) from None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn`` on a worker; what it raises is raised, and TransientError if the cluster is lost.

        It must only read: once cancelled, it may go on.
        """
        ours = Future[Any]()
        given = self._begin(ours, fn, *args, **kwargs)
        ours.add_done_callback(lambda ended: ended.cancelled() and given.cancel())
        return ours

    def leave(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """The same for what writes below ``folder``: who waits for it knows that nothing comes later, so that
        it cannot be cancelled."""
        ours = Future[Any]()
        ours.set_running_or_notify_cancel()
        self._begin(ours, fn, *args)
        return ours

    @contextmanager
    def folder(self) -> Iterator[UPath]:
        """A folder for what workers leave; when the block ends nothing of it is there, nor will be."""
        made = self._pieces / uuid.uuid4().hex
        try:
            yield made
        finally:
            composing.clear(made)

    def abandon(self) -> None:
        """Wait no longer for what is under way: each raises TransientError."""
        while self._under_way:
            with suppress(KeyError):
                ours = self._under_way.pop()
                if _is_awaited(ours):
                    ours.set_exception(TransientError(_LOST))

    def _begin(self, ours: Future[Any], fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        with _told():
            given: Future[Any] = self._inner.submit(_run, _sources(), fn, *args, **kwargs)
        self._under_way.add(ours)
        given.add_done_callback(partial(self._hand_over, ours))
        return given

    def _hand_over(self, ours: Future[Any], given: Future[Any]) -> None:
        try:
            self._under_way.remove(ours)
        except KeyError:
            return
        if not _is_awaited(ours):
            return
        try:
            with _told():
                ours.set_result(given.result())
        except Exception as error:
            ours.set_exception(error)


def _is_awaited(ours: Future[Any]) -> bool:
    return ours.running() or ours.set_running_or_notify_cancel()


@contextmanager
def _told() -> Iterator[None]:
    """Turn what Dask says of itself into what it means; what a task raised is raised as it is."""
    try:
        yield
    except CancelledError:
        raise TransientError(_LOST) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] in _DASK:
            raise TransientError(_LOST) from None
        if isinstance(error, RuntimeError) and _NOT_LOADED in str(error):
            raise InvalidSetting(
                f"the scheduler of {_FIELD} cannot load export_pipeline; install the same version there",
                field=_FIELD,
            ) from None
        raise


@contextmanager
def _watched(client: Any, cluster: Cluster) -> Iterator[None]:
    """Abandon the cluster once it has had no worker for a while: Dask itself waits for another for ever."""
    ended = threading.Event()

    def watch() -> None:
        seen = time.monotonic()
        while not ended.wait(_LOOK_SECONDS):
            with suppress(Exception):  # a scheduler that does not answer has no workers either
                if client.nthreads(callback_timeout=_ANSWER_SECONDS):
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

    Unless it is ``executor``, what dead processes left is removed first: nobody may ask for the same again.

    Raises:
        TransientError: if the cluster or the object store does not answer.
        InvalidSetting: if what is needed for clusters is not installed.
    """
    if executor is None:
        # What cannot be removed is told by retention, and keeps nobody from an export.
        with suppress(OSError), answering():
            sweep_unpublished(settings, thoroughly=False)
    if executor is not None or not settings.scheduler:
        with threads(settings, executor) as made:
            yield made
        return
    pieces = settings.exports / PIECES / uuid.uuid4().hex
    with locks.lock(settings, making_lock(settings, pieces)), _client(settings) as client:
        cluster = Cluster(client, pieces)
        try:
            with _watched(client, cluster):
                yield cluster
        finally:
            composing.clear(pieces)


@contextmanager
def _client(settings: Settings) -> Iterator[Any]:
    client = _connected(settings.scheduler)
    try:
        yield client
    finally:
        _close(client)


def _connected(scheduler: str) -> Any:
    """A client of a cluster that has a worker."""
    try:
        from distributed import Client
    except ImportError:
        raise InvalidSetting(
            f"{_FIELD} is set; it needs `pip install 'export_pipeline[distributed]'`", field=_FIELD
        ) from None
    made: Future[Any] = Future()

    def connect() -> None:
        try:
            client: Any = Client(scheduler, timeout=_PATIENCE_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
        except Exception as error:
            if made.set_running_or_notify_cancel():
                made.set_exception(error)
            return
        if made.set_running_or_notify_cancel():
            made.set_result(client)
        else:
            _close(client)

    # Dask waits for ever for the greeting of a scheduler that hangs.
    threading.Thread(target=connect, name="cluster", daemon=True).start()
    try:
        with suppress(TimeoutError):
            made.exception(_PATIENCE_SECONDS + _ANSWER_SECONDS)
        client = made.result(0 if made.cancel() else None)
    except (OSError, CancelledError):
        raise TransientError(f"the scheduler at {scheduler} does not answer; try again") from None
    except ImportError:
        raise InvalidSetting(f"the scheduler of {_FIELD} has other versions of Dask", field=_FIELD) from None
    try:
        client.wait_for_workers(1, timeout=_PATIENCE_SECONDS)
    except (OSError, TimeoutError):
        _close(client)
        raise TransientError(f"no worker has joined the scheduler at {scheduler}") from None
    return client


def _close(client: Any) -> None:
    with suppress(Exception):  # of a lost cluster, which is told where it matters
        client.close(timeout=_CLOSE_SECONDS)
