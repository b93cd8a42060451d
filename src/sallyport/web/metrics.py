"""Metrics: what the parts measure and how the API is used, in Prometheus' text form.

No label holds what a client can choose (a path, a subject): a route's own template stands for
its path, so the number of series stays small.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.types import Scope

from sallyport.web.services import Measure, WebServices

PREFIX = "/api/v1"
"""Where the routes stand."""

_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})


class Requests:
    """Counts the requests of the API."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._count = Counter(
            "sallyport_api_requests",
            "Requests to the API",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "sallyport_api_request_seconds",
            "Seconds that a request took, streams included",
            ("route",),
            buckets=(0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0),
            registry=self.registry,
        )

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one request; the signature is that of `shield.Observe`."""
        route = _template(scope)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._count.labels(method, route, str(status or 499)).inc()
        self._seconds.labels(route).observe(seconds)


def _template(scope: Scope) -> str:
    """Return the route's whole template: it may be kept relative to its router's prefix."""
    template = str(getattr(scope.get("route"), "path", "other"))
    inside = scope["path"].startswith(PREFIX) and template.startswith("/")
    return PREFIX + template if inside and not template.startswith(PREFIX) else template


class _Measures(Collector):
    def __init__(self, measures: Iterable[Measure]) -> None:
        self._measures = measures

    def collect(self) -> Iterator[Metric]:
        """Yield one family a name."""
        families: dict[str, Metric] = {}
        for measure in self._measures:
            family = families.get(measure.name)
            if family is None:
                kind = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
                family = families[measure.name] = kind(measure.name, measure.help)
            name = measure.name + ("_total" if measure.kind == "counter" else "")
            family.add_sample(name, dict(measure.labels), measure.value)
        yield from families.values()


def render(services: WebServices, requests: Requests) -> tuple[bytes, str]:
    """Return all measures and their content type."""
    policy = services.policy.state()
    own = [
        Measure("sallyport_ready", "Whether work can be done", float(services.health().ready)),
        Measure("sallyport_sessions_live", "Sessions open now", len(services.registry.live())),
        Measure(
            "sallyport_policy",
            "The policy in force; 0 when the last reload was not taken",
            0.0 if policy.failure else 1.0,
            {"revision": policy.revision},
        ),
    ]
    registry = CollectorRegistry()
    registry.register(_Measures([*own, *services.metrics()]))
    return generate_latest(registry) + generate_latest(requests.registry), CONTENT_TYPE_LATEST
