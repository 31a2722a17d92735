"""Figures for Prometheus: how long requests take here, and what the database holds when it is asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from threading import Lock

from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Histogram,
    Metric,
    generate_latest,
    multiprocess,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from webapi.models import Job, Label, Lease, LeaseState, Round, Task, TaskState
from webapi.services.filter_watch import FilterDrift

COUNT_EVERY = 10.0
"""Seconds that counts are kept: a scrape costs nothing more often than that."""

LATENCY = Histogram(
    "gauntlet_request_seconds",
    "Time to answer a request.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


class TimeRequests:
    """Middleware: the time of each request, by route (not by path: there are as many paths as rows)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answers and notes the time."""
        started = time.perf_counter()
        response = self.get_response(request)
        match = request.resolver_match
        route = match.route if match else "none"
        method = request.method if request.method in METHODS else "other"
        LATENCY.labels(method, route, str(response.status_code)).observe(time.perf_counter() - started)
        return response


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class DatabaseFigures(Collector):
    """Jobs, rounds, tasks, leases and labels as the database has them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counted_at = float("-inf")
        self._kept: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        """The figures, counted at most every `COUNT_EVERY` seconds."""
        with self._lock:
            if time.monotonic() - self._counted_at > COUNT_EVERY:
                self._kept = list(_count())
                self._counted_at = time.monotonic()
            return self._kept


def _count() -> Iterator[Metric]:
    yield _grouped("gauntlet_jobs", "Jobs by state and queue.", Job.objects.all(), ("state", "queue"))
    yield _grouped("gauntlet_rounds", "Rounds by state.", Round.objects.all(), ("state",))
    open_tasks = Task.objects.filter(state=TaskState.OPEN)
    yield GaugeMetricFamily("gauntlet_tasks_open", "Tasks that want labels.", open_tasks.count())
    live = Lease.objects.filter(state=LeaseState.LIVE)
    yield GaugeMetricFamily("gauntlet_leases_live", "Tasks that annotators hold.", live.count())
    yield GaugeMetricFamily("gauntlet_labels", "Labels, revisions among them.", Label.objects.count())


def _grouped(name: str, help_text: str, rows: QuerySet[Job] | QuerySet[Round], fields: tuple[str, ...]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=fields)
    for *labels, count in rows.order_by().values_list(*fields).annotate(n=Count("pk")):
        family.add_metric(labels, count)
    return family


_DATABASE = DatabaseFigures()
_DRIFT = FilterDrift()


def metrics(request: HttpRequest) -> HttpResponse:
    """`GET /metrics`. With several server processes set `PROMETHEUS_MULTIPROC_DIR`, as the Prometheus client says."""
    own = CollectorRegistry()
    own.register(_DATABASE)
    own.register(_DRIFT)
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        shared = CollectorRegistry()
        multiprocess.MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return HttpResponse(generate_latest(shared) + generate_latest(own), content_type=CONTENT_TYPE_LATEST)
    return HttpResponse(generate_latest(REGISTRY) + generate_latest(own), content_type=CONTENT_TYPE_LATEST)
