"""The instruments that Prometheus reads. Import it through `metrics`, and only in a process that serves requests.

When prometheus_client is imported it decides, by PROMETHEUS_MULTIPROC_DIR, whether processes share their figures; and
a process that is forked keeps what its parent has decided.
"""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

MEDIA_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Around what an answer takes (docs/performance.md), the fallback's deadline, and half a second (requirement 27)."""

DURATION = Histogram(
    "ketamine_cds_request_duration_seconds", "Time to an answer, by service.", ("service",), buckets=_SECONDS
)
REQUESTS = Counter("ketamine_cds_requests", "Answered requests.", ("service", "status", "client"))
CARDS = Counter("ketamine_cds_cards", "Cards, by their leading rule and their indicator.", ("rule", "severity"))
COULD_NOT_TELL = Counter(
    "ketamine_cds_could_not_tell", "Rules that could not be told, by what was missing.", ("fact",)
)
NOT_SENT = Counter(
    "ketamine_cds_not_sent", "Lists that a client did not send and that could not be fetched.", ("client", "query")
)
FETCHES = Counter(
    "ketamine_cds_fallback_fetches", "Searches on the EHR's FHIR server, by how they ended.", ("result",)
)
FHIR_THREADS = Gauge(
    "ketamine_cds_fhir_threads_held", "Threads that wait for a FHIR server now.", multiprocess_mode="livesum"
)
LATE_ANSWERS = Counter(
    "ketamine_cds_late_answers", "Answers that were not complete in time, by the step that was not done.", ("step",)
)
AUTH_REFUSALS = Counter(
    "ketamine_cds_auth_refusals",
    "Calls refused with 401, by what was wrong and whose they claim to be.",
    ("reason", "client"),
)
AUDIT_DROPS = Counter("ketamine_cds_audit_drops", "Invocations that could not be recorded.")
AUDIT_WAITING = Gauge(
    "ketamine_cds_audit_waiting", "Records that are not written yet, in all workers.", multiprocess_mode="livesum"
)
AUDIT_OLDEST = Gauge(
    "ketamine_cds_audit_oldest_seconds",
    "Since when the oldest record that is not written yet has been waiting.",
    multiprocess_mode="livemax",
)
CANDIDATE = Counter(
    "ketamine_cds_candidate_calls",
    "Answered calls that a candidate policy was to judge, by what became of them.",
    ("client", "result"),
)
UNANSWERED = Counter("ketamine_cds_unanswered", "Questions to a database without an answer in time.", ("asked",))
HELD = Gauge(
    "ketamine_cds_threads_held",
    "Threads that wait for a database longer than anyone waits for them.",
    ("asked",),
    multiprocess_mode="livesum",
)
LAST_CALL = Gauge(
    "ketamine_cds_last_call_timestamp_seconds", "When each client last called.", ("client",), multiprocess_mode="max"
)
LAST_JUDGED = Gauge(
    "ketamine_cds_last_judged_timestamp_seconds", "When an order was last judged.", multiprocess_mode="max"
)
FAILURES = Counter("ketamine_cds_failures", "Orders that were not checked because the service itself failed.")

SHED = Counter("ketamine_cds_shed", "Calls that were not judged because the service was busy.", ("why",))
CALLS = Gauge("ketamine_cds_calls_in_progress", "Calls in progress.", multiprocess_mode="livesum")
BYTES = Gauge("ketamine_cds_bytes_in_flight", "Bytes of bodies in progress.", multiprocess_mode="livesum")
THREADS = Gauge("ketamine_cds_threads", "Threads, as of the last call.", multiprocess_mode="livesum")
CONNECTIONS = Gauge("ketamine_cds_connections_open", "Connections of the port.", multiprocess_mode="mostrecent")
CONNECTIONS_WAITING = Gauge(
    "ketamine_cds_connections_waiting",
    "Those of them that no worker has accepted yet.",
    multiprocess_mode="mostrecent",
)
CONNECTIONS_USED = Counter("ketamine_cds_connections_used", "Connections on which a first request came.")
CONNECTIONS_MOVED = Counter("ketamine_cds_connections_moved", "Connections closed for another worker to take.")
CONNECTION_OVERFLOWS = Gauge(
    "ketamine_cds_connections_overflows",
    "Connections that found no place to wait, on any port of this machine or container.",
    multiprocess_mode="mostrecent",
)
WORKER_RESTARTS = Counter(
    "ketamine_cds_worker_restarts", "Workers that were replaced, by how they were lost.", ("reason",)
)
WORKERS_SERVING = Gauge(
    "ketamine_cds_workers_serving", "Workers that take calls, without the spare one.", multiprocess_mode="livesum"
)


@lru_cache(maxsize=1024)
def duration(service: str) -> Histogram:
    return DURATION.labels(service)


duration("healthz")
# Each kind of instrument has a file, which is opened by its first one that needs no label, and here for this kind:
# where the folder is cleared away later, a call that counts must not look for it.


@lru_cache(maxsize=4096)
def counted(counter: Counter, *labels: str) -> Counter:
    """The counter for these labels; asking the library anew would cost more than counting."""
    return counter.labels(*labels)


@lru_cache(maxsize=1024)
def gauge(gauge: Gauge, *labels: str) -> Gauge:
    return gauge.labels(*labels)


def exposed(is_shared: bool) -> bytes:
    """All figures in Prometheus' text format: of all workers, where they share a folder."""
    if not is_shared:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def forget(pid: int) -> None:
    """Take the gauges of a process that has ended out of the sums."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]
