"""What is counted. Plain numbers on the hot path; Prometheus's words are found when somebody scrapes."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds to the first byte; an answer out of memory takes none worth a clock and counts in the first."""


@dataclass(slots=True)
class Traffic:
    """Every number the daemon counts itself."""

    requests: dict[tuple[str, str, str], int] = field(default_factory=lambda: defaultdict(int))
    """By registry, kind and outcome."""
    sent: dict[tuple[str, str, str], int] = field(default_factory=lambda: defaultdict(int))
    """Bytes of bodies to clients, by registry, kind and outcome."""
    fetched: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Bytes of bodies from upstream, by registry."""
    pushed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Bytes of bodies that clients pushed, by registry; unpacked."""
    carried: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Bytes of chunks from other sites as they came over the line, by registry."""
    brought: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    """Bytes of blobs, by registry and upstream."""
    lies: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    """Downloads that an upstream made wrong, by registry and upstream."""
    errors: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Refusals, by OCI code."""
    refused: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Requests that were not for their caller, by reason."""
    first_byte: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0] * (len(_BUCKETS) + 1)))
    """Answers by outcome and bucket."""
    waited: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds to the first byte, summed by outcome."""
    admitted: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Bytes that the link's budget let pass, by urgency."""
    waited_for_link: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds that bytes waited for the link's budget, by urgency."""
    replicated: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Writes of other sites, by what became of them."""
    conflicts: int = 0
    """Tags that two sites wrote without knowing of each other."""
    delivered: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """References that a target has taken, by target."""
    undelivered: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Times that it did not take one."""
    shipped: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Bytes of bodies that were sent to it."""
    evictions: int = 0
    lapsed: int = 0
    quarantined: int = 0
    """Blobs that the disk had changed."""
    mismatches: int = 0
    failed_tasks: int = 0

    def received(self, registry: str, size: int) -> None:
        self.fetched[registry] += size

    def began(self, outcome: str, seconds: float) -> None:
        self.first_byte[outcome][bisect_left(_BUCKETS, seconds)] += 1
        self.waited[outcome] += seconds


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number that is read when it is asked for."""

    name: str
    help: str
    read: Callable[[], float]


@dataclass(frozen=True, slots=True)
class UpstreamGauge:
    """A number of every upstream, by registry and upstream; `None` where it is not known."""

    name: str
    help: str
    read: Callable[[], Iterable[tuple[tuple[str, str], float | None]]]


@dataclass(frozen=True, slots=True)
class TargetGauge:
    """A number of every target of replication, by its name."""

    name: str
    help: str
    read: Callable[[], Iterable[tuple[str, float]]]
    label: str = "target"


@dataclass(frozen=True, slots=True)
class PolicyGauge(TargetGauge):
    """A number of every policy of eviction, by its name."""

    label: str = "policy"


AnyGauge = Gauge | UpstreamGauge | TargetGauge


class Metrics:
    """Renders the counts in the Prometheus text format; the names are listed in docs/metrics.md."""

    def __init__(self, traffic: Traffic, gauges: Iterable[AnyGauge]) -> None:
        self._traffic = traffic
        self._gauges = list(gauges)
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Called by `generate_latest`."""
        traffic = self._traffic
        by = ["registry", "kind", "outcome"]
        yield _counter("edgeproxy_requests", "Requests answered.", by, traffic.requests)
        yield _counter("edgeproxy_sent_bytes", "Bytes of bodies sent to clients.", by, traffic.sent)
        fetched = {(registry,): size for registry, size in traffic.fetched.items()}
        yield _counter("edgeproxy_fetched_bytes", "Bytes of bodies received from upstream.", ["registry"], fetched)
        pushed = {(registry,): size for registry, size in traffic.pushed.items()}
        yield _counter("edgeproxy_pushed_bytes", "Bytes of bodies that clients pushed.", ["registry"], pushed)
        carried = {(registry,): size for registry, size in traffic.carried.items()}
        text = "Bytes of chunks from other sites, as they were sent."
        yield _counter("edgeproxy_replication_received_bytes", text, ["registry"], carried)
        upstream = ["registry", "upstream"]
        yield _counter("edgeproxy_upstream_bytes", "Bytes of blobs, by who brought them.", upstream, traffic.brought)
        yield _counter("edgeproxy_upstream_lies", "Downloads an upstream made wrong.", upstream, traffic.lies)
        errors = {(code,): count for code, count in traffic.errors.items()}
        yield _counter("edgeproxy_errors", "Refusals, by OCI error code.", ["code"], errors)
        refused = {(reason,): count for reason, count in traffic.refused.items()}
        yield _counter("edgeproxy_refused", "Requests that were not for their caller.", ["reason"], refused)
        admitted = {(urgency,): size for urgency, size in traffic.admitted.items()}
        yield _counter("edgeproxy_link_bytes", "Bytes that the link let pass.", ["urgency"], admitted)
        waited = {(urgency,): seconds for urgency, seconds in traffic.waited_for_link.items()}
        yield _counter("edgeproxy_link_wait_seconds", "Seconds that bytes waited for the link.", ["urgency"], waited)
        yield from self._replication()
        wrong = {(): self._traffic.quarantined}
        yield _counter("edgeproxy_quarantined", "Blobs that were found to be wrong on disk.", [], wrong)
        yield _counter("edgeproxy_evictions", "Blobs evicted.", [], {(): traffic.evictions})
        yield _counter("edgeproxy_lapsed", "Blobs let go while there was room.", [], {(): traffic.lapsed})
        yield _counter(
            "edgeproxy_digest_mismatches", "Downloads whose content was wrong.", [], {(): traffic.mismatches}
        )
        yield _counter("edgeproxy_failed_tasks", "Background work that ended in a bug.", [], {(): traffic.failed_tasks})
        yield self._first_byte()
        for gauge in self._gauges:
            yield _gauge(gauge)

    def _replication(self) -> Iterator[Metric]:
        replicated = {(outcome,): count for outcome, count in self._traffic.replicated.items()}
        yield _counter("edgeproxy_replication_received", "Writes of other sites.", ["outcome"], replicated)
        for name, text, counts in (
            ("delivered", "References that a target has taken.", self._traffic.delivered),
            ("failures", "Times that a target did not take one.", self._traffic.undelivered),
            ("sent_bytes", "Bytes of bodies sent to a target.", self._traffic.shipped),
        ):
            by_target = {(target,): count for target, count in counts.items()}
            yield _counter(f"edgeproxy_replication_{name}", text, ["target"], by_target)
        conflicts = {(): self._traffic.conflicts}
        yield _counter("edgeproxy_replication_conflicts", "Tags that two sites wrote at once.", [], conflicts)

    def _first_byte(self) -> Metric:
        family = HistogramMetricFamily(
            "edgeproxy_first_byte_seconds",
            "Seconds from a request to its answer's first byte.",
            labels=["outcome"],
        )
        for outcome, counts in self._traffic.first_byte.items():
            sums = [sum(counts[: index + 1]) for index in range(len(counts))]
            edges = [*map(str, _BUCKETS), "+Inf"]
            family.add_metric([outcome], list(zip(edges, sums, strict=True)), self._traffic.waited[outcome])
        return family


Counts = (
    Mapping[tuple[str, str, str], int]
    | Mapping[tuple[str, str], int]
    | Mapping[tuple[str], float]
    | Mapping[tuple[()], int]
)


def _gauge(gauge: AnyGauge) -> Metric:
    if isinstance(gauge, Gauge):
        return GaugeMetricFamily(gauge.name, gauge.help, value=gauge.read())
    if isinstance(gauge, TargetGauge):
        family = GaugeMetricFamily(gauge.name, gauge.help, labels=[gauge.label])
        for target, number in gauge.read():
            family.add_metric([target], number)
        return family
    family = GaugeMetricFamily(gauge.name, gauge.help, labels=["registry", "upstream"])
    for labels, value in gauge.read():
        if value is not None:
            family.add_metric(labels, value)
    return family


def _counter(
    name: str,
    text: str,
    labels: list[str],
    values: Counts,
) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family
