"""Builds every part and runs them; the only module that knows the concrete classes."""

import logging
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from aiohttp import ClientSession

from edgeproxy import assembly, logs
from edgeproxy.access.callers import Asking, Callers
from edgeproxy.access.issuer import Issuer, new_key
from edgeproxy.access.roles import Permitted
from edgeproxy.access.users import Users
from edgeproxy.accounts import Accounts
from edgeproxy.admin.app import Operations
from edgeproxy.admin.contents import ContentRequests
from edgeproxy.admin.logins import LoginRequests
from edgeproxy.admin.model import ModelRequests
from edgeproxy.admin.prefetch import PrefetchRequests
from edgeproxy.admin.settings import SettingRequests
from edgeproxy.admin.sites import SiteRequests
from edgeproxy.admin.status import StatusRequests
from edgeproxy.admin.verify import VerifyRequests
from edgeproxy.admin.webhooks import Webhooks
from edgeproxy.api.address import Addresses
from edgeproxy.api.app import Service
from edgeproxy.api.chunked import Chunked
from edgeproxy.api.pull import Pull
from edgeproxy.api.push import Push
from edgeproxy.api.requests import RequestLog
from edgeproxy.api.token import TokenEndpoint
from edgeproxy.cache.absent import Absent
from edgeproxy.cache.accesses import Accesses
from edgeproxy.cache.admission import Admission
from edgeproxy.cache.chronicle import Chronicle
from edgeproxy.cache.chunks import Chunks
from edgeproxy.cache.eviction import Room
from edgeproxy.cache.fetch import Fetch
from edgeproxy.cache.flights import Flights
from edgeproxy.cache.holdings import Holdings
from edgeproxy.cache.library import Library
from edgeproxy.cache.listings import Listings
from edgeproxy.cache.manifests import Manifests
from edgeproxy.cache.overflow import Overflow
from edgeproxy.cache.prefetch import Prefetch
from edgeproxy.cache.removals import Removals
from edgeproxy.cache.retention import Retention
from edgeproxy.cache.rules import Rules
from edgeproxy.cache.savings import Savings
from edgeproxy.cache.shipments import Shipments
from edgeproxy.cache.source import UpstreamSource
from edgeproxy.cache.survey import Survey
from edgeproxy.cache.tags import Tags
from edgeproxy.cache.uploads import Uploads
from edgeproxy.cache.upstreams import Upstreams
from edgeproxy.cache.visibility import Visibilities
from edgeproxy.config import Config
from edgeproxy.interfaces import Clock
from edgeproxy.jobs.adopt import Adopt
from edgeproxy.jobs.backlog import Backlog
from edgeproxy.jobs.prefetch import PrefetchJobs
from edgeproxy.jobs.pull import Pulling
from edgeproxy.jobs.replicate import Replication
from edgeproxy.jobs.scrub import Scrub
from edgeproxy.jobs.steering import Document, Steering, registered
from edgeproxy.jobs.supervise import Job, Supervisor
from edgeproxy.jobs.sweep import Sweep
from edgeproxy.jobs.targets import Target
from edgeproxy.judgement import Judgement
from edgeproxy.metrics import AnyGauge, Gauge, Metrics, TargetGauge, Traffic, UpstreamGauge
from edgeproxy.oci.errors import Forbidden
from edgeproxy.oci.reference import Tag
from edgeproxy.overview import Overview, Parts
from edgeproxy.registries import TargetConfig, registered_target
from edgeproxy.remote.measured import MeasuredRanking
from edgeproxy.remote.registry import Registry
from edgeproxy.remote.stored import StoredLogins
from edgeproxy.sites.tasks import Lag
from edgeproxy.store.catalog import Catalog
from edgeproxy.store.disk import DiskStore, Layout, once
from edgeproxy.store.memory import MemoryTier
from edgeproxy.store.outbox import Outbox
from edgeproxy.store.pushed import Pushed
from edgeproxy.store.versions import TagStates

log = logging.getLogger(__name__)
_LARGEST_IN_MEMORY = 256 * 1024
_CHECKS = 2
"""Passwords that are checked at the same time."""
_PACKERS = 2
"""Chunks that are compressed at the same time."""


class Daemon:
    """The parts, joined. What configuration decides is in `service` and `room`; the rest outlives a reload."""

    def __init__(
        self, config: Config, supervisor: Supervisor, session: ClientSession, traffic: Traffic, clock: Clock
    ) -> None:
        self._supervisor = supervisor
        self._session = session
        self._traffic = traffic
        self.clock = clock
        self.layout = Layout(config.data)
        self.catalog = Catalog(self.layout.catalog, clock)
        self.store = DiskStore(self.layout, self.catalog, MemoryTier(config.cache.memory, _LARGEST_IN_MEMORY), clock)
        budget = assembly.limits(config, self.store).budget
        self.judgement = Judgement(config.learn, self.store, budget, clock, supervisor.spawn)
        self.flights = Flights(supervisor.spawn, config.timeout.answer, config.limits.flights)
        self._checks = ThreadPoolExecutor(_CHECKS, thread_name_prefix="logins")
        self._packers = ThreadPoolExecutor(_PACKERS, thread_name_prefix="packing")
        self.chronicle = Chronicle(clock)
        self.accesses = Accesses(self.catalog, clock)
        self.savings = Savings(self.catalog, traffic, clock)
        self.survey = Survey(self.catalog, clock, lambda: self.room, self.judgement.judging)
        self.states, self._outbox = TagStates(self.catalog), Outbox(self.catalog)
        backlog = Backlog(self._outbox, clock, random.random)
        self.replication = Replication(self._outbox, backlog, self.states, clock, supervisor.spawn, traffic)
        self.pulling = Pulling(self._outbox, clock, supervisor.spawn)
        self.prefetches = PrefetchJobs(
            self.catalog, clock, lambda image: self.addresses.image(image), lambda *each: self.prefetch(*each)
        )
        self.scrub = Scrub(self.store, traffic, lambda *each: self._library.bring(*each))
        self.metrics = Metrics(traffic, self._gauges())
        self.lines = RequestLog(logs.write, config.log_format) if config.log_requests else None
        self.exchanged: Callable[[], None] = lambda: None
        """Called when what was configured has changed by itself."""
        self._stored = StoredLogins(self.layout.data / "logins.json")
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Build what the configuration decides; requests under way end with what they began with."""
        clock, spawn, catalog = self.clock, self._supervisor.spawn, self.catalog
        limits = assembly.limits(config, self.store)
        registries = assembly.registries(config, self._session, self.layout.name, self._stored)
        self._config, self._registries = config, registries
        self.ranking = MeasuredRanking(assembly.measured(config, registries, clock), clock, self._traffic)
        upstreams = Upstreams(self.ranking, clock, config.offline, self.ranking.spares, self.ranking.answers)
        self.budget = assembly.budget(config, clock, self._traffic)
        rules = Rules([rule.rule() for rule in config.rule])
        judgement, policy, notes = self.judgement, self.judgement.policy, self.judgement.notes
        retention = Retention(catalog, rules, judgement.retention, upstreams.answer)
        room = Room(
            limits, self.store, catalog, policy, retention, clock, spawn, self._traffic, self.chronicle,
            judgement.judging, judgement.inform,
        )  # fmt: skip
        fetch = Fetch(upstreams, self.store, catalog, room, clock, self._traffic, self.budget, self.chronicle)
        patience, self._rules = config.timeout.answer, rules
        tell = notes.checked if notes else lambda checked: None
        tags = Tags(catalog, upstreams, rules, policy, clock, spawn, patience, self.flights, fetch, tell)
        library = Library(self.store, catalog, self.flights, fetch, tags, upstreams, self.accesses, Absent(clock))
        self._library, self._tags = library, tags
        listings = Listings(library, catalog, upstreams, clock)
        addresses, challenges = assembly.addresses(config), assembly.challenges(config)
        self.admission = admission = self._admission(config, registries)
        past_disk = Overflow(upstreams, self._traffic, self.budget)
        self.callers = self._callers(config, addresses)
        callers, name = self.callers, self.layout.name
        pull = Pull(addresses, library, listings, past_disk, admission, callers, challenges, name, room.spare)
        push = self._push(config, library, room)
        self._replicate(config, library)
        self.prefetch = Prefetch(library, admission, catalog)
        source = UpstreamSource(catalog, tags, listings, self.prefetch, self._removals, upstreams)
        pulls = [each for each in config.replication if each.source]
        if self.judgement.foresee is not None:
            self.judgement.foresee.source = source
        self.pulling.configure([each.pull_policy() for each in pulls], source)
        self._offline, self._effective = config.offline, config.effective()
        self._secrets = {each.name: each.notices_secret() for each in pulls}
        tokens = TokenEndpoint(self.callers, addresses, clock) if config.auth.gives_tokens else None
        self.service = Service(pull, push, tokens, challenges, notes, self.lines, config.tls.identity)
        self.room, self.addresses = room, addresses

    def _push(self, config: Config, library: Library, room: Room) -> Push:
        store, clock, traffic = self.store, self.clock, self._traffic
        pushed = Pushed(self.catalog, journal=any(each.targets for each in config.replication))
        self.uploads = Uploads(assembly.upload_limits(config), store, pushed, room, clock, traffic)
        announcer = self.replication if any(each.targets for each in config.replication) else None
        manifests = Manifests(store, pushed, room, library, clock, traffic, config.timeout.answer, announcer)
        self._removals = Removals(store, pushed, clock, traffic, announcer)
        chunked = Chunked(Chunks(self.uploads, store, self.flights))
        return Push(self.uploads, chunked, manifests, self._removals, self.admission, config.timeout.idle)

    def _replicate(self, config: Config, library: Library) -> None:
        self._timeouts = config.timeout
        targets = {target.name: self._target(target) for target in config.target}
        for document in registered(self._outbox):
            name = str(document.get("name"))
            try:
                targets.setdefault(name, self._registered(document))
            except ValueError as error:
                log.error("target %s was registered, and cannot be used any more: %s", name, error)
        shipments = Shipments(library, self.store, self.states, Pushed(self.catalog), self.layout.name)
        policies = [each.policy() for each in config.replication if each.targets]
        self.replication.configure(policies, targets.values(), shipments)

    def _target(self, settings: TargetConfig) -> Target:
        timeouts, name = self._timeouts, self.layout.name
        peer = assembly.peer(settings, timeouts, self._session, name, self.clock, self.budget, self._packers)
        return Target(peer, self.clock, random.random)

    def _registered(self, document: Document) -> Target:
        return self._target(registered_target(document))

    def jobs(self) -> list[Job]:
        sweep = Sweep(self.store, self.catalog, self.clock)
        return [
            Job("carry over uses", self.accesses.carry_over, every=10.0, delay=10.0),
            Job("note what was saved", self.savings.carry_over, every=10.0, delay=10.0),
            Job("forget what was saved", self.savings.forget_old, every=86400.0, delay=60.0),
            Job("survey", self.survey.step, every=10.0, delay=1.0),
            Job("tidy", lambda: self.room.tidy(), every=30.0, delay=5.0),
            Job("lapse", lambda: self.room.lapse(), every=600.0, delay=600.0),
            Job("probe", lambda: self.ranking.probe(), every=2.0, delay=2.0),
            Job("users", self._look_at_users, every=5.0, delay=5.0),
            Job("expire uploads", lambda: self.uploads.expire(), every=300.0, delay=30.0),
            Job("replicate", self.replication.step, every=1.0, delay=1.0),
            Job("let go", lambda: self._removals.let_go(self._rules), every=60.0, delay=10.0),
            Job("pull", self.pulling.step, every=5.0, delay=1.0),
            Job("prefetch", self.prefetches.step, every=1.0),
            Job("scrub", self.scrub.step, every=300.0, delay=300.0),
            *self.judgement.jobs(),
            *([Job("tell of requests", self.lines.step, every=1.0)] if self.lines else []),
            Job("sweep", sweep.step, every=86400.0, delay=1.0),
            Job("adopt", Adopt(self.catalog, self.layout.name).step, every=86400.0, delay=0.0),
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
        await self.savings.carry_over()
        if self.lines is not None:
            self.lines.flush()
        await self.room.close()
        await self.judgement.close()
        await self.store.close()
        await self.catalog.close()
        self._packers.shutdown(wait=False, cancel_futures=True)
        self._checks.shutdown(wait=False, cancel_futures=True)

    async def allow_operator(self, authorization: str) -> None:
        """Raises the `Refusal` of who is none."""
        caller = await self.callers.identify(Asking(authorization))
        try:
            self.admission.operate(caller)
        except Forbidden as refusal:
            self._traffic.refused[refusal.reason] += 1
            log.info("refused to %s on the admin listener: %s", caller.identity, refusal.message)
            raise

    async def _look_at_users(self) -> None:
        self.callers.refresh()

    def _admission(self, config: Config, registries: Mapping[str, Sequence[Registry]]) -> Admission:
        visibilities = Visibilities(
            self.catalog,
            registries,
            self.clock,
            self._supervisor.spawn,
            config.timeout.answer,
            offline=config.offline,
            pass_through=config.auth.pass_through,
        )
        bindings = [rule.binding() for rule in config.access]
        permitted = Permitted(config.fetch.allow, config.fetch.deny)
        return Admission(visibilities, bindings, permitted, logins=config.auth.takes_logins)

    def _callers(self, config: Config, addresses: Addresses) -> Callers:
        auth = config.auth
        issuer = Issuer(once(self.layout.data / "TOKEN_KEY", new_key()), auth.token_life)
        users = Users(auth.htpasswd, self._checks) if auth.htpasswd else None
        verifier = assembly.verifier(auth.token, addresses) if auth.token.is_given else None
        return Callers(issuer, self.clock, users, verifier, auth.groups, pass_through=auth.pass_through)

    def operations(self) -> Operations:
        """What operators may ask; answered by what the configuration decides at the time of each."""
        prefetch = PrefetchRequests(self.prefetches)
        sites = SiteRequests(Steering(self.replication, self.pulling, self._outbox, self._registered))
        webhooks = Webhooks(self.pulling.told, lambda: self._secrets)
        overview = self._overview()
        status = StatusRequests(overview.document, self.ready, overview.budgets)
        model = ModelRequests(self.judgement.document, self.judgement.explain)
        settings = SettingRequests(lambda: self._effective, logging.getLogger("edgeproxy"))
        verify = VerifyRequests(self.scrub, self._supervisor.spawn)
        contents = ContentRequests(
            lambda: Holdings(self.store, self.room, self.clock, self.chronicle, self._fresh_for),
            lambda image: self.addresses.image(image),
            self.judgement.explain,
        )
        logins = LoginRequests(
            Accounts(self._stored, lambda: self._config.registry, lambda: self._registries, self._configure_again)
        )
        return Operations(
            self.metrics, self.ready, prefetch, sites, webhooks, status, model, contents, verify, settings, logins
        )

    def _fresh_for(self, tag: Tag) -> float | None:
        known = self._tags.known(tag, self.clock.now())
        return None if known is None else known.outcome.ttl

    def _configure_again(self) -> None:
        self.configure(self._config)
        self.exchanged()

    def _overview(self) -> Overview:
        return Overview(
            Parts(
                self.layout.name,
                self.store,
                self.flights,
                self.savings,
                self.survey,
                self.replication,
                self.judgement,
                self.prefetches,
                room=lambda: self.room,
                ranking=lambda: self.ranking,
                link=lambda: self.budget,
                offline=lambda: self._offline,
            ),
            self.clock,
        )

    def _replication_gauges(self) -> list[AnyGauge]:
        replication = self.replication

        def lags(field: Callable[[Lag], float]) -> Callable[[], Iterable[tuple[str, float]]]:
            return lambda: [(name, field(replication.backlog.lag(name))) for name in replication.targets]

        return [
            Gauge("edgeproxy_replication_tasks", "References still to be sent.", replication.left),
            TargetGauge(
                "edgeproxy_replication_lag_seconds",
                "Seconds since the oldest write that a target lacks.",
                lags(lambda lag: lag.seconds),
            ),
            TargetGauge("edgeproxy_replication_lag_bytes", "Bytes that a target lacks.", lags(lambda lag: lag.size)),
            TargetGauge(
                "edgeproxy_replication_target_up",
                "Whether a target takes what is sent.",
                lambda: [(name, float(target.standing is not None)) for name, target in replication.targets.items()],
            ),
        ]

    def _gauges(self) -> list[AnyGauge]:
        return [
            *self._replication_gauges(),
            *self.judgement.gauges(),
            Gauge("edgeproxy_flights", "Downloads under way.", lambda: len(self.flights)),
            Gauge("edgeproxy_uploads", "Uploads that are open.", lambda: len(self.store.uploads)),
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
