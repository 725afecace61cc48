"""This project: the code the export assets run, with everything on, and where its time goes."""

import pickle
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.inputs import deployment, now_after
from export_pipeline.exports import ExportRequest, export_day, write_export
from export_pipeline.exports.encoding import get_ready
from export_pipeline.exports.readback import Range, read_range
from export_pipeline.exports.request import check_data_types, check_format
from export_pipeline.ledger import Ledger
from export_pipeline.store import Store

# What is compiled is loaded as what the peers are made of is: when it is imported.
get_ready()


def write(
    home: str,
    data_type: str,
    day: str,
    format: str,
    compression: str,
    out: str,
    executor: Executor | None = None,
) -> None:
    """Export ``day`` of the deployment in ``home`` to the directory ``out``.

    Compressed, it is the daily partition that the asset materializes, moved there; else the export of a
    request, made of the same parts.
    """
    settings, when = deployment(home), date.fromisoformat(day)
    known: dict[str, Any] = {
        "settings": settings,
        "store": Store(settings),
        "ledger": Ledger(settings),
        "now": now_after(when),
    }
    # Nothing made before is there to be taken over.
    shutil.rmtree(settings.exports, ignore_errors=True)
    if compression == "gzip":
        export_day(data_type, format, when, executor=executor, **known).path.rename(out)
    else:
        request = ExportRequest(when, when, check_data_types([data_type]), check_format(format), "none")
        write_export(request, Path(out), executor=executor, **known)


def write_accounted(read_back: str, replayed: bool, **arguments: Any) -> dict[str, float]:
    """``write``, and the CPU seconds of each function that ran on the executor.

    Args:
        read_back: the file that keeps what was read back.
        replayed: look at no row read back: give the writer what the file holds, which equal bytes have, so
            that the time without reading back is seen.
    """
    kept = Path(read_back)
    results = pickle.loads(kept.read_bytes()) if replayed else {}
    workers = deployment(arguments["home"]).workers
    with _Accounting(workers, results, replayed) as executor:
        write(executor=executor, **arguments)
        if not replayed:
            found = {place: future.result() for place, future in executor.read.items()}
            kept.write_bytes(pickle.dumps(found))
    return dict(executor.seconds)


_Place = tuple[str, int, int]


def _place(span: Range) -> _Place:
    return Path(span.path).name, span.offset, span.length


class _Accounting(ThreadPoolExecutor):
    """Threads that count the CPU seconds of each function; what was read back is kept, or given again."""

    def __init__(self, workers: int, results: Mapping[_Place, Any], replayed: bool) -> None:
        super().__init__(workers)
        self._results, self._replayed = results, replayed
        self.read: dict[_Place, Future[Any]] = {}
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As ``ThreadPoolExecutor.submit``."""
        if fn is read_range and self._replayed:
            done: Future[Any] = Future()
            done.set_result(self._results[_place(args[0])])
            return done
        future = super().submit(self._timed, fn, *args, **kwargs)
        if fn is read_range:
            self.read[_place(args[0])] = future
        return future

    def _timed(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        began = time.thread_time()
        try:
            return fn(*args, **kwargs)
        finally:
            # One thread at a time runs Python, and the sum of a lost race is made of whole calls.
            self.seconds[fn.__name__.strip("_")] += time.thread_time() - began
