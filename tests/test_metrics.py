"""What a scrape says, read as Prometheus reads it."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from edgeproxy.config import Config
from edgeproxy.daemon import Daemon
from edgeproxy.jobs.supervise import Supervisor
from edgeproxy.metrics import Gauge, Metrics, Traffic
from edgeproxy.remote.ranking import Estimate
from edgeproxy.remote.registry import Timeouts, new_session
from tests.fakes.clock import ManualClock

DOCUMENT = Path(__file__).parent.parent / "docs" / "metrics.md"
LABELS = {"registry": "docker.io", "kind": "blobs", "outcome": "hit"}


def samples(metrics: Metrics) -> Iterator[Sample]:
    for family in text_string_to_metric_families(metrics.render().decode()):
        assert family.documentation
        yield from family.samples


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = [sample.value for sample in samples(metrics) if (sample.name, sample.labels) == (name, labels)]
    assert len(found) == 1, f"{name}{labels} is there {len(found)} times"
    return float(found[0])


def busy() -> Traffic:
    """Traffic of which there is one of each."""
    traffic = Traffic(evictions=5, lapsed=19, mismatches=6, failed_tasks=7, conflicts=14)
    traffic.requests["docker.io", "blobs", "hit"] += 1
    traffic.sent["docker.io", "blobs", "hit"] += 2
    traffic.received("docker.io", 1)
    traffic.received("docker.io", 2)
    traffic.pushed["docker.io"] += 12
    traffic.carried["docker.io"] += 18
    traffic.admitted["client"] += 10
    traffic.waited_for_link["client"] += 11
    traffic.brought["docker.io", "near"] += 8
    traffic.lies["docker.io", "near"] += 9
    traffic.refused["private"] = 1
    traffic.replicated["applied"] = 13
    traffic.delivered["store-7"] += 15
    traffic.undelivered["store-7"] += 16
    traffic.shipped["store-7"] += 17
    traffic.errors["BLOB_UNKNOWN"] += 4
    traffic.began("hit", 0.3)
    return traffic


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("edgeproxy_requests_total", LABELS, 1),
        ("edgeproxy_sent_bytes_total", LABELS, 2),
        ("edgeproxy_fetched_bytes_total", {"registry": "docker.io"}, 3),
        ("edgeproxy_pushed_bytes_total", {"registry": "docker.io"}, 12),
        ("edgeproxy_replication_received_bytes_total", {"registry": "docker.io"}, 18),
        ("edgeproxy_errors_total", {"code": "BLOB_UNKNOWN"}, 4),
        ("edgeproxy_replication_received_total", {"outcome": "applied"}, 13),
        ("edgeproxy_replication_conflicts_total", {}, 14),
        ("edgeproxy_replication_delivered_total", {"target": "store-7"}, 15),
        ("edgeproxy_replication_failures_total", {"target": "store-7"}, 16),
        ("edgeproxy_replication_sent_bytes_total", {"target": "store-7"}, 17),
        ("edgeproxy_evictions_total", {}, 5),
        ("edgeproxy_lapsed_total", {}, 19),
        ("edgeproxy_digest_mismatches_total", {}, 6),
        ("edgeproxy_failed_tasks_total", {}, 7),
    ],
)
def test_what_is_counted_is_rendered(name: str, labels: dict[str, str], expected: int) -> None:
    assert value(Metrics(busy(), []), name, **labels) == expected


def test_before_the_first_request_there_is_something_to_scrape() -> None:
    assert {(sample.name, sample.value) for sample in samples(Metrics(Traffic(), []))} == {
        ("edgeproxy_replication_conflicts_total", 0),
        ("edgeproxy_quarantined_total", 0),
        ("edgeproxy_evictions_total", 0),
        ("edgeproxy_lapsed_total", 0),
        ("edgeproxy_digest_mismatches_total", 0),
        ("edgeproxy_failed_tasks_total", 0),
    }


def test_a_scrape_resets_nothing() -> None:
    metrics = Metrics(busy(), [])
    assert metrics.render() == metrics.render()


def test_a_gauge_is_read_when_it_is_asked_for() -> None:
    level = [1.0]
    metrics = Metrics(Traffic(), [Gauge("edgeproxy_level", "The level.", lambda: level[0])])
    assert value(metrics, "edgeproxy_level") == 1.0
    level[0] = 2.5
    assert value(metrics, "edgeproxy_level") == 2.5


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_label_is_rendered_so_that_it_is_read_back(text: str) -> None:
    traffic = Traffic()
    traffic.requests[text, "blobs", "hit"] += 1
    # The reader splits lines wherever Python does, so these stay out of what it is given.
    if not set(text) & set("\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"):
        assert value(Metrics(traffic, []), "edgeproxy_requests_total", registry=text, kind="blobs", outcome="hit") == 1


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_waits_are_in_the_bucket_of_their_length_and_all_above(waits: list[float]) -> None:
    traffic = Traffic()
    for seconds in waits:
        traffic.began("miss", seconds)
    metrics = Metrics(traffic, [])
    buckets = [sample for sample in samples(metrics) if sample.name == "edgeproxy_first_byte_seconds_bucket"]
    for bucket in buckets:
        assert bucket.labels["outcome"] == "miss"
        assert bucket.value == sum(seconds <= float(bucket.labels["le"]) for seconds in waits)
    assert buckets[-1].labels["le"] == "+Inf"
    assert value(metrics, "edgeproxy_first_byte_seconds_count", outcome="miss") == len(waits)
    assert value(metrics, "edgeproxy_first_byte_seconds_sum", outcome="miss") == pytest.approx(sum(waits))


@pytest.mark.parametrize(("seconds", "edge"), [(0.0, "0.001"), (0.001, "0.001"), (0.0011, "0.005"), (30.0, "30.0")])
def test_an_edge_belongs_to_its_bucket(seconds: float, edge: str) -> None:
    traffic = Traffic()
    traffic.began("hit", seconds)
    buckets = [sample for sample in samples(Metrics(traffic, [])) if sample.name.endswith("_bucket")]
    assert next(bucket.labels["le"] for bucket in buckets if bucket.value) == edge


async def test_what_the_daemon_exports_is_what_is_documented(tmp_path: Path) -> None:
    target = {"name": "store-7", "url": "http://127.0.0.1:9"}
    settings = {"data": tmp_path, "cache": {"budget": "1GB"}, "registry": {"a.test": {}}, "target": [target]}
    config = Config.model_validate(settings)
    async with new_session(Timeouts()) as session, asyncio.TaskGroup() as group:
        traffic, clock = busy(), ManualClock()
        daemon = Daemon(config, Supervisor(group, clock, traffic), session, traffic, clock)
        for _, upstream in daemon.ranking:
            upstream.allowance.answered(
                200, {"ratelimit-limit": "9;w=60", "ratelimit-remaining": "8"}, daemon.clock.now()
            )
            upstream.estimate = Estimate().answered(0.1).delivered(10**6, 1.0, 0.0)
        found = {re.sub("_(bucket|count|sum)$", "", sample.name) for sample in samples(daemon.metrics)}
        assert value(daemon.metrics, "edgeproxy_cache_budget_bytes") == 10**9
        await daemon.close()
    text = DOCUMENT.read_text(encoding="utf-8")
    assert found == set(re.findall(r"^\| `(edgeproxy_\w+)` \|", text, re.MULTILINE))
