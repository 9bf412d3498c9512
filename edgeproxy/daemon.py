"""Builds every part and runs them; the only module that knows the concrete classes."""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial

from aiohttp import ClientSession, web
from yarl import URL

from edgeproxy.access.roles import Permitted
from edgeproxy.admin.app import admin_app
from edgeproxy.admin.prefetch import PrefetchRequests
from edgeproxy.api.address import Addresses
from edgeproxy.api.app import PullServer
from edgeproxy.api.connection import ConnectionLimits
from edgeproxy.api.pull import Pull
from edgeproxy.cache.absent import Absent
from edgeproxy.cache.accesses import Accesses
from edgeproxy.cache.admission import Admission
from edgeproxy.cache.eviction import Limits, Room
from edgeproxy.cache.fetch import Fetch
from edgeproxy.cache.flights import Flights, Spawn
from edgeproxy.cache.library import Library
from edgeproxy.cache.listings import Listings
from edgeproxy.cache.overflow import Overflow
from edgeproxy.cache.prefetch import Prefetch
from edgeproxy.cache.rules import Rule, Rules
from edgeproxy.cache.tags import Tags
from edgeproxy.cache.upstreams import Upstreams
from edgeproxy.clock import SystemClock
from edgeproxy.config import Config, UpstreamConfig
from edgeproxy.interfaces import Clock
from edgeproxy.jobs.supervise import Job, Supervisor
from edgeproxy.jobs.sweep import Sweep
from edgeproxy.metrics import Gauge, Metrics, Traffic, UpstreamGauge
from edgeproxy.predict.fixed import FixedPolicy
from edgeproxy.remote.allowance import Allowance
from edgeproxy.remote.budget import Budget
from edgeproxy.remote.docker_config import docker_config, server_of
from edgeproxy.remote.logins import Login, Source, given
from edgeproxy.remote.measured import Measured, MeasuredRanking
from edgeproxy.remote.programs import command, credential_helper
from edgeproxy.remote.registry import Registry, Timeouts, new_session
from edgeproxy.remote.transport import CertificateInvalid, Proxies, Transport, tls
from edgeproxy.store.catalog import Catalog
from edgeproxy.store.disk import DiskStore, FormatUnknown, Layout, once
from edgeproxy.store.memory import MemoryTier

log = logging.getLogger(__name__)
_LARGEST_IN_MEMORY = 256 * 1024
_DEFAULT_SHARE = 0.8


class CannotStart(Exception):
    """Why the daemon cannot run here, and what to do about it."""


class Daemon:
    """The parts, joined. What configuration decides is in `pull` and `room`; the rest outlives a reload."""

    def __init__(self, config: Config, supervisor: Supervisor, session: ClientSession, traffic: Traffic) -> None:
        self._supervisor = supervisor
        self._session = session
        self._traffic = traffic
        self._policy = FixedPolicy()
        self.clock = clock = SystemClock()
        self.layout = Layout(config.data)
        self.catalog = Catalog(self.layout.catalog, clock)
        self.store = DiskStore(self.layout, self.catalog, MemoryTier(config.cache.memory, _LARGEST_IN_MEMORY), clock)
        self.flights = Flights(supervisor.spawn, config.timeout.answer, config.limits.flights)
        self.accesses = Accesses(self.catalog, clock)
        self.metrics = Metrics(traffic, self._gauges())
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Build what the configuration decides; requests under way end with what they began with."""
        clock, spawn, catalog = self.clock, self._supervisor.spawn, self.catalog
        limits = _limits(config, self.store)
        room = Room(limits, self.store, catalog, self._policy, clock, spawn, self._traffic)
        registries = _registries(config, self._session, self.layout.name)
        self.ranking = MeasuredRanking(_measured(config, registries, clock), clock, self._traffic)
        upstreams = Upstreams(self.ranking, clock, config.offline, self.ranking.spares)
        self.budget = _budget(config, clock, self._traffic)
        fetch = Fetch(upstreams, self.store, catalog, room, clock, self._traffic, self.budget)
        rules = Rules([Rule(rule.match, rule.fresh, rule.max_stale) for rule in config.rule])
        patience = config.timeout.answer
        tags = Tags(catalog, upstreams, rules, self._policy, clock, spawn, patience, self.flights, fetch)
        library = Library(self.store, catalog, self.flights, fetch, tags, upstreams, self.accesses, Absent(clock))
        listings = Listings(library, catalog, upstreams, clock)
        addresses = _addresses(config)
        admission = _admission(config, catalog, registries, clock, spawn)
        past_disk = Overflow(upstreams, self._traffic, self.budget)
        pull = Pull(addresses, library, listings, past_disk, admission, self.layout.name)
        self.room, self.pull, self.addresses = room, pull, addresses
        self.prefetch = Prefetch(library, admission)

    def jobs(self) -> list[Job]:
        sweep = Sweep(self.store, self.catalog, self.clock)
        return [
            Job("carry over uses", self.accesses.carry_over, every=10.0, delay=10.0),
            Job("tidy", lambda: self.room.tidy(), every=30.0, delay=5.0),
            Job("probe", lambda: self.ranking.probe(), every=2.0, delay=2.0),
            Job("sweep", sweep.step, every=86400.0, delay=1.0),
        ]

    async def ready(self) -> str:
        """A real read of the store; what is wrong with it, or nothing."""
        try:
            self.catalog.total()
            os.scandir(self.layout.blobs).close()
        except Exception as error:
            return f"the store cannot be read: {error}"
        return ""

    async def close(self) -> None:
        await self.accesses.carry_over()
        await self.store.close()
        await self.catalog.close()

    def prefetches(self) -> PrefetchRequests:
        """By what the configuration decides at the time of each."""
        return PrefetchRequests(
            lambda image: self.addresses.image(image),
            lambda reference, platforms: self.prefetch(reference, platforms),
            self._supervisor.spawn,
        )

    def _gauges(self) -> list[Gauge | UpstreamGauge]:
        return [
            Gauge("edgeproxy_flights", "Downloads under way.", lambda: len(self.flights)),
            Gauge("edgeproxy_cache_bytes", "Bytes of blobs held.", self.catalog.total),
            Gauge(
                "edgeproxy_cache_budget_bytes",
                "Bytes of blobs held at most.",
                lambda: self.room.limits.budget,
            ),
            Gauge("edgeproxy_memory_bytes", "Bytes of the hot tier.", lambda: self.store.memory.size),
            Gauge("edgeproxy_disk_free_bytes", "Bytes free on the disk.", lambda: self.store.free()[0]),
            UpstreamGauge(
                "edgeproxy_upstream_latency_seconds",
                "Seconds to an answer, smoothed.",
                lambda: self.ranking.figures(lambda each: each.estimate.latency),
            ),
            UpstreamGauge(
                "edgeproxy_upstream_rate_bytes",
                "Bytes per second of one transfer, smoothed.",
                lambda: self.ranking.figures(lambda each: each.estimate.rate),
            ),
            UpstreamGauge(
                "edgeproxy_upstream_failures",
                "Failures in a row.",
                lambda: self.ranking.figures(lambda each: each.estimate.failures),
            ),
            UpstreamGauge(
                "edgeproxy_upstream_requests_left",
                "Requests that upstream still grants.",
                lambda: self.ranking.figures(lambda each: each.allowance.remaining(self.clock.now())),
            ),
            UpstreamGauge(
                "edgeproxy_upstream_requests_limit",
                "Requests that upstream grants per window.",
                lambda: self.ranking.figures(lambda each: each.allowance.limit(self.clock.now())),
            ),
            Gauge("edgeproxy_link_budget_bytes", "Bytes per second that may come.", lambda: self.budget.rate),
            Gauge(
                "edgeproxy_link_background_bytes",
                "Bytes per second that clients leave to others.",
                lambda: self.budget.background_rate,
            ),
        ]


async def run(config: Config, reload: Callable[[], Config]) -> None:
    """Serve until SIGTERM or SIGINT, then let requests under way end. Raises `CannotStart`."""
    try:
        await _run(config, reload)
    except ExceptionGroup as group:
        if len(group.exceptions) == 1 and isinstance(group.exceptions[0], CannotStart):
            raise group.exceptions[0] from None
        raise


async def _run(config: Config, reload: Callable[[], Config]) -> None:
    _raise_file_limit()
    traffic, stop = Traffic(), asyncio.Event()
    timeouts = Timeouts(config.timeout.connect, config.timeout.first_byte, config.timeout.idle)
    async with new_session(timeouts) as session, asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, SystemClock(), traffic)
        daemon = _build(config, supervisor, session, traffic)
        server = pull_server(config, daemon.pull, traffic, time.monotonic())
        admin = web.AppRunner(admin_app(daemon.metrics, daemon.ready, daemon.prefetches()), access_log=None)
        pulls = web.ServerRunner(server, shutdown_timeout=max(config.timeout.drain, 0.001))  # 0 would wait for ever
        async with _listening(admin, config.admin, "admin"), _listening(pulls, config.listen, "listen"):
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop.set)
            loop.add_signal_handler(signal.SIGHUP, lambda: _reload(daemon, server, reload))
            for job in [*daemon.jobs(), Job("sweep connections", partial(_sweep, server), every=1.0)]:
                supervisor.start(job)
            _notify("READY=1")
            log.info(
                "pulls on %s:%d, health and metrics on %s:%d, data in %s",
                *config.listen,
                *config.admin,
                config.data,
            )
            await stop.wait()
            _notify("STOPPING=1")
            log.info("stopping: requests under way have %g s to end", config.timeout.drain)
        supervisor.stop()
        await daemon.close()


def pull_server(config: Config, pull: Pull, traffic: Traffic, now: float) -> PullServer:
    """`now` is of a clock that only goes forward, as are the times it is swept with."""
    limits = config.limits
    clients = limits.clients(resource.getrlimit(resource.RLIMIT_NOFILE)[0], now)
    per_connection = ConnectionLimits(
        limits.request_line, limits.header, limits.header_time, limits.idle, limits.stalled
    )
    return PullServer(pull, traffic, clients, per_connection, now)


async def _sweep(server: PullServer) -> None:
    server.sweep(time.monotonic())


def _build(config: Config, supervisor: Supervisor, session: ClientSession, traffic: Traffic) -> Daemon:
    try:
        return Daemon(config, supervisor, session, traffic)
    except FormatUnknown as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(
            f"{config.data} cannot be used: {error}; set data, or EDGEPROXY_DATA, to another directory"
        ) from error


def _reload(daemon: Daemon, server: PullServer, reload: Callable[[], Config]) -> None:
    try:
        daemon.configure(reload())
    except Exception as error:
        log.error("the configuration stays as it was: %s", error)
        return
    server.pull = daemon.pull
    log.info("configuration read again; listen, admin, data, memory, timeouts and limits take effect at the next start")


@asynccontextmanager
async def _listening(runner: web.BaseRunner, address: tuple[str, int], key: str) -> AsyncIterator[None]:
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, *address, backlog=1024, reuse_address=True).start()
        except OSError as error:
            # asyncio words a failed bind at length; a failed look-up has a number of its own, and its own words.
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise CannotStart(
                f"cannot listen on {address[0]}:{address[1]} ({key}): {reason}; "
                f"set {key}, or EDGEPROXY_{key.upper()}, to another address"
            ) from error
        yield
    finally:
        await runner.cleanup()


def _limits(config: Config, store: DiskStore) -> Limits:
    """The default budget is decided once, at the first start: what was free then does not count what is held now."""
    free, disk = store.free()
    reserve = _bytes(config.cache.reserve, disk)
    if config.cache.budget is not None:
        return Limits(_bytes(config.cache.budget, disk), reserve)
    return Limits(int(once(store.layout.data / "BUDGET", str(int(free * _DEFAULT_SHARE)))), reserve)


def _bytes(share: float, disk: int) -> int:
    return int(disk * share) if isinstance(share, float) else share


def _registries(config: Config, session: ClientSession, name: str) -> Mapping[str, Sequence[Registry]]:
    timeouts = Timeouts(config.timeout.connect, config.timeout.first_byte, config.timeout.idle)
    proxies, contexts = Proxies(os.environ), cache(tls)

    def registry(upstream: UpstreamConfig) -> Registry:
        url = URL(upstream.url)
        transport = Transport(session, url, proxies, *_contexts(upstream, contexts))
        source = _source(upstream)
        login = Login(source) if source else None
        return Registry(
            upstream.place, url, transport, login, name, timeouts, upstream.role, Allowance(upstream.reserve)
        )

    return {name: [registry(each) for each in settings.upstream] for name, settings in config.registry.items()}


def _measured(
    config: Config, registries: Mapping[str, Sequence[Registry]], clock: Clock
) -> Mapping[str, Sequence[Measured]]:
    return {
        name: [
            Measured(registry, settings.priority, clock, registry.knock, registry.allowance)
            for registry, settings in zip(found, config.registry[name].upstream, strict=True)
        ]
        for name, found in registries.items()
    }


def _admission(
    config: Config, catalog: Catalog, registries: Mapping[str, Sequence[Registry]], clock: Clock, spawn: Spawn
) -> Admission:
    bindings = [rule.binding() for rule in config.access]
    permitted = Permitted(config.fetch.allow, config.fetch.deny)
    return Admission(catalog, registries, bindings, permitted, clock, spawn, config.timeout.answer, config.offline)


def _budget(config: Config, clock: Clock, traffic: Traffic) -> Budget:
    settings = [upstream for registry in config.registry.values() for upstream in registry.upstream]
    return Budget(config.link.terms(), {each.place: each.terms() for each in settings}, clock, traffic)


def _source(upstream: UpstreamConfig) -> Source | None:
    """Where the login of an upstream comes from."""
    if upstream.docker_config is not None:
        return docker_config(upstream.docker_config, upstream.host)
    if upstream.credential_helper:
        return credential_helper(upstream.credential_helper, server_of(upstream.host))
    if upstream.login_command:
        return command(upstream.login_command)
    return given(upstream.username, partial(upstream.secret, os.environ)) if upstream.username else None


def _contexts(upstream: UpstreamConfig, made: Callable[..., ssl.SSLContext]) -> Sequence[ssl.SSLContext | None]:
    """What others are verified by, and what we show to the upstream's owner as well. Raises `CannotStart`."""
    try:
        trusting = made(upstream.ca_file) if upstream.ca_file else None
        if upstream.client_cert is None:
            return trusting, None
        return trusting, made(upstream.ca_file, upstream.client_cert, upstream.client_key)
    except CertificateInvalid as error:
        raise CannotStart(f"{upstream.url}: {error}") from error


def _addresses(config: Config) -> Addresses:
    hosts = {host.lower(): name for name, registry in config.registry.items() for host in registry.hosts}
    return Addresses(list(config.registry), hosts, config.default_registry)


def _raise_file_limit() -> None:
    """Every client takes a descriptor or two; the soft limit of many systems is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3)), where it asks to be told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, contextlib.suppress(OSError):
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.send(state.encode())
