"""What the API counts for Prometheus; no label holds an id."""

from collections import Counter as Counts
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from export_pipeline.days import utc_now
from export_pipeline.ledger import Ledger
from export_pipeline.ledger.jobs import OPEN

_METHODS = ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS")


class _OpenJobs(Collector):
    """How many jobs wait or are worked on, read when somebody looks."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        """The jobs by state."""
        jobs = GaugeMetricFamily(
            "export_pipeline_open_jobs", "Export jobs that wait or are worked on", labels=["state"]
        )
        counts = Counts(job.state for job in self._ledger.jobs.open(utc_now()))
        for state in OPEN:
            jobs.add_metric([state], counts[state])
        yield jobs


class Metrics:
    """The counters of one server process."""

    def __init__(self, ledger: Ledger) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_OpenJobs(ledger))
        labels = ["method", "route", "status"]
        self._requests = Counter(
            "export_pipeline_http_requests", "Requests answered", labels, registry=self._registry
        )
        self._seconds = Histogram(
            "export_pipeline_http_request_seconds",
            "Time to the end of an answer",
            ["method", "route"],
            registry=self._registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self._downloaded = Counter(
            "export_pipeline_downloaded_bytes", "Bytes of export files sent", registry=self._registry
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer; a method nobody knows is counted as ``other``."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def downloaded(self, sent: int) -> None:
        """Count bytes of export files that were sent."""
        self._downloaded.inc(sent)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
