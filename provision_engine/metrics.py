"""Counters and durations for Prometheus, of all processes of the engine together.

No label has a value that a user chose: routes are those of the program, methods those of HTTP,
calls those of the backends' adapters. In a server each process writes to its own files in one
directory (server/serving.py), which takes microseconds; the process that serves /metrics adds
them up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import cache

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, multiprocess
from prometheus_client.exposition import choose_encoder

from provision_engine import __version__

IS_SHARED = "PROMETHEUS_MULTIPROC_DIR" in os.environ
"""Whether processes are added up. prometheus_client decides it when it is imported, too."""

REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
CALL_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})
BACKENDS = ("oned", "oneflow")
NO_ROUTE = "none"

_ALL_RUNTIMES, _ONE_RUNTIME = "/serverless-runtimes", "/serverless-runtimes/<runtime_id>"

_requests = Counter(
    "provision_engine_http_requests", "Completed requests.", ("method", "route", "status")
)
_request_seconds = Histogram(
    "provision_engine_http_request_duration_seconds",
    "Time until the response; waited is yes where the client asked to wait (?wait=).",
    ("method", "route", "waited"),
    buckets=REQUEST_SECONDS,
)
in_flight = Gauge(
    "provision_engine_http_requests_in_flight",
    "Requests in flight.",
    multiprocess_mode="livesum",
)
waiting = Gauge(
    "provision_engine_http_requests_waiting",
    "Requests in flight that wait until a runtime is ready (?wait=).",
    multiprocess_mode="livesum",
)
_calls = Counter(
    "provision_engine_backend_calls",
    "Calls to OpenNebula; outcome is ok, or the HTTP status for the failure.",
    ("backend", "call", "outcome"),
)
_call_seconds = Histogram(
    "provision_engine_backend_call_duration_seconds",
    "Duration of calls to OpenNebula.",
    ("backend", "call"),
    buckets=CALL_SECONDS,
)
standby_hits = Counter("provision_engine_standby_hits", "Creates that took a standby runtime.")
standby_misses = Counter(
    "provision_engine_standby_misses", "Creates of a flavour with standbys that found none."
)
standby_age = Histogram(
    "provision_engine_standby_age_seconds",
    "How old standbys were when a create took them.",
    buckets=(10, 30, 60, 300, 900, 1800, 3600, 7200, 14_400, 86_400),
)
standby_ready = Gauge(
    "provision_engine_standby_ready",
    "Standbys that this engine has started and that no create has taken yet.",
    multiprocess_mode="livesum",
)
_backend_up = Gauge(
    "provision_engine_backend_up",
    "1 if the backend responded to the last probe, within a second of the scrape; else 0.",
    ("backend",),
    multiprocess_mode="mostrecent",
)
_created = Counter("provision_engine_runtimes_created", "Serverless runtimes that were created.")
_failed = Counter(
    "provision_engine_runtimes_failed", "Creates that failed with a status of 500 or more."
)
_deleted = Counter("provision_engine_runtimes_deleted", "Serverless runtimes that were deleted.")
_cache = Counter(
    "provision_engine_cache_lookups",
    "Lookups in the cache of flow templates and VM templates.",
    ("result",),
)
_build = Gauge(
    "provision_engine_build_info",
    "Always 1; the label is the version.",
    ("version",),
    multiprocess_mode="livemax",
)

# Finding a child by its labels takes longer than incrementing it.
_requests_of = cache(_requests.labels)
_request_seconds_of = cache(_request_seconds.labels)
_calls_of = cache(_calls.labels)
_call_seconds_of = cache(_call_seconds.labels)
_hit, _miss = _cache.labels("hit"), _cache.labels("miss")


def request_answered(
    method: str, route: str, status: int, began_at: float, *, waited: bool = False
) -> None:
    """Count a response to a request that began at this time of time.perf_counter().

    ``route`` is the rule of the URL map, or NO_ROUTE; never the path.
    """
    method = method if method in METHODS else "other"
    _requests_of(method, route, str(status)).inc()
    seconds = time.perf_counter() - began_at
    _request_seconds_of(method, route, "yes" if waited else "no").observe(seconds)
    if method == "POST" and route == _ALL_RUNTIMES and status == 201:
        _created.inc()
    elif method == "POST" and route == _ALL_RUNTIMES and status >= 500:
        _failed.inc()
    elif method == "DELETE" and route == _ONE_RUNTIME and status == 204:
        _deleted.inc()


def backend_called(backend: str, call: str, outcome: str, seconds: float) -> None:
    """Count a call to OpenNebula."""
    _calls_of(backend, call, outcome).inc()
    _call_seconds_of(backend, call).observe(seconds)


def backends_checked(reasons: Mapping[str, str]) -> None:
    """Record which backends respond; ``reasons`` has those that do not."""
    for backend in BACKENDS:
        _backend_up.labels(backend).set(backend not in reasons)


def cache_looked(is_hit: bool) -> None:
    """Count a lookup in the cache."""
    (_hit if is_hit else _miss).inc()


def exposition(accept: str) -> tuple[bytes, str]:
    """Return all metrics in the format that an Accept header asks for, and its content type."""
    _build.labels(__version__).set(1)
    registry = REGISTRY
    if IS_SHARED:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
