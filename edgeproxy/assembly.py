"""Parts as the sections of the configuration describe them."""

import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import cache, partial

from aiohttp import ClientSession
from yarl import URL

from edgeproxy.access.verifier import Verifier, read_certificates, read_key_set
from edgeproxy.api.address import Addresses
from edgeproxy.api.challenge import Challenges
from edgeproxy.cache.eviction import Limits
from edgeproxy.cache.uploads import UploadLimits
from edgeproxy.config import Config, TimeoutConfig
from edgeproxy.interfaces import Clock, Link
from edgeproxy.listener import CannotStart
from edgeproxy.metrics import Traffic
from edgeproxy.registries import RemoteConfig, TargetConfig, UpstreamConfig
from edgeproxy.remote.allowance import Allowance
from edgeproxy.remote.budget import Budget
from edgeproxy.remote.docker_config import docker_config, server_of
from edgeproxy.remote.logins import Login, Source, given
from edgeproxy.remote.measured import Measured
from edgeproxy.remote.peer import RegistryPeer
from edgeproxy.remote.programs import command, credential_helper
from edgeproxy.remote.pushing import Address, Pushing
from edgeproxy.remote.registry import Registry, Timeouts
from edgeproxy.remote.stored import StoredLogins
from edgeproxy.remote.tokens import Tokens
from edgeproxy.remote.transport import CertificateInvalid, Proxies, Transport, tls
from edgeproxy.sections import TokenConfig
from edgeproxy.store.disk import DiskStore, once

_DEFAULT_SHARE = 0.8
"""Of what was free when the daemon first started."""


def limits(config: Config, store: DiskStore) -> Limits:
    """The default budget is decided once, at the first start: what was free then does not count what is held now."""
    free, disk = store.free()
    reserve = _bytes(config.cache.reserve, disk)
    if config.cache.budget is not None:
        return Limits(_bytes(config.cache.budget, disk), reserve)
    return Limits(int(once(store.layout.data / "BUDGET", str(int(free * _DEFAULT_SHARE)))), reserve)


def upload_limits(config: Config) -> UploadLimits:
    return UploadLimits(config.limits.uploads, config.limits.upload_age, config.limits.upload_size)


def _bytes(share: float, disk: int) -> int:
    return int(disk * share) if isinstance(share, float) else share


def registries(
    config: Config, session: ClientSession, name: str, stored: StoredLogins
) -> Mapping[str, Sequence[Registry]]:
    """`stored`: logins of registries whose configuration has none."""
    timeouts = Timeouts(config.timeout.connect, config.timeout.first_byte, config.timeout.idle)
    proxies, contexts = Proxies(os.environ), cache(tls)

    def registry(upstream: UpstreamConfig) -> Registry:
        url = URL(upstream.url)
        transport = Transport(session, url, proxies, *_contexts(upstream, contexts))
        source = _source(upstream) or (stored.source(upstream.host) if upstream.role == "origin" else None)
        login = Login(source) if source else None
        return Registry(
            upstream.place, url, transport, login, name, timeouts, upstream.role, Allowance(upstream.reserve)
        )

    return {name: [registry(each) for each in settings.upstream] for name, settings in config.registry.items()}


def measured(
    config: Config, registries: Mapping[str, Sequence[Registry]], clock: Clock
) -> Mapping[str, Sequence[Measured]]:
    return {
        name: [
            Measured(registry, settings.priority, clock, registry.knock, registry.allowance)
            for registry, settings in zip(found, config.registry[name].upstream, strict=True)
        ]
        for name, found in registries.items()
    }


def verifier(token: TokenConfig, addresses: Addresses) -> Verifier:
    keys = read_key_set(token.keys) if token.keys else []
    certificates = read_certificates(token.certificates) if token.certificates else []
    return Verifier(keys, certificates, token.issuer, token.service, addresses.canonical)


def challenges(config: Config) -> Challenges:
    auth = config.auth
    return Challenges(
        logins=auth.takes_logins,
        secure=config.tls.certificate is not None,
        realm=auth.token.realm or auth.realm,
        service=auth.token.service,
        basic=auth.token.is_given and auth.htpasswd is not None,
        hosts=auth.challenge,
        default=config.default_registry,
    )


def budget(config: Config, clock: Clock, traffic: Traffic) -> Budget:
    settings = [upstream for registry in config.registry.values() for upstream in registry.upstream]
    terms = {each.place: each.terms() for each in settings} | {each.name: each.terms() for each in config.target}
    return Budget(config.link.terms(), terms, clock, traffic)


def peer(
    target: TargetConfig,
    timeout: TimeoutConfig,
    session: ClientSession,
    name: str,
    clock: Clock,
    link: Link,
    threads: Executor,
) -> RegistryPeer:
    """`name`: this proxy's own; `threads` compress what is sent. Raises `CannotStart`."""
    timeouts = Timeouts(timeout.connect, timeout.first_byte, timeout.idle)
    proxies, contexts = Proxies(os.environ), cache(tls)

    def address(text: str) -> Address:
        url = URL(text)
        transport = Transport(session, url, proxies, *_contexts(target, contexts))
        source = _source(target)
        return Address(url, transport, Tokens(transport, url, Login(source) if source else None, timeouts.first_byte))

    return RegistryPeer(Pushing(target.name, list(map(address, target.urls)), name, timeouts, clock), link, threads)


def _source(upstream: RemoteConfig) -> Source | None:
    """Where the login of an upstream comes from."""
    if upstream.docker_config is not None:
        return docker_config(upstream.docker_config, upstream.host)
    if upstream.credential_helper:
        return credential_helper(upstream.credential_helper, server_of(upstream.host))
    if upstream.login_command:
        return command(upstream.login_command)
    return given(upstream.username, partial(upstream.secret, os.environ)) if upstream.username else None


def _contexts(upstream: RemoteConfig, made: Callable[..., ssl.SSLContext]) -> Sequence[ssl.SSLContext | None]:
    """What others are verified by, and what we show to the upstream's owner as well. Raises `CannotStart`."""
    try:
        trusting = made(upstream.ca_file) if upstream.ca_file else None
        if upstream.client_cert is None:
            return trusting, None
        return trusting, made(upstream.ca_file, upstream.client_cert, upstream.client_key)
    except CertificateInvalid as error:
        raise CannotStart(f"{upstream.url}: {error}") from error


def addresses(config: Config) -> Addresses:
    hosts = {host.lower(): name for name, registry in config.registry.items() for host in registry.hosts}
    return Addresses(list(config.registry), hosts, config.default_registry)
