"""The daemon as a process: its sockets, the signals it heeds, and its end."""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from functools import partial

from aiohttp import ClientSession, web

from edgeproxy import tracing
from edgeproxy.admin.app import admin_app
from edgeproxy.api.app import PullServer, Service
from edgeproxy.api.connection import ConnectionLimits
from edgeproxy.api.handshake import Handshakes
from edgeproxy.clock import SystemClock
from edgeproxy.config import Config
from edgeproxy.daemon import Daemon
from edgeproxy.interfaces import Clock
from edgeproxy.jobs.supervise import Job, Supervisor
from edgeproxy.listener import CannotStart, listening
from edgeproxy.metrics import Traffic
from edgeproxy.remote.registry import Timeouts, new_session
from edgeproxy.remote.transport import CertificateInvalid
from edgeproxy.store.disk import FormatUnknown
from edgeproxy.tls import Certificates
from edgeproxy.units import is_loopback

log = logging.getLogger(__name__)


async def run(config: Config, reload: Callable[[], Config], clock: Clock | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then let requests under way end. Raises `CannotStart`.

    `clock`: what is written down, judged and repeated goes by it; else by the system's.
    """
    try:
        await _run(config, reload, clock or SystemClock())
    except ExceptionGroup as group:
        if len(group.exceptions) == 1 and isinstance(group.exceptions[0], CannotStart):
            raise group.exceptions[0] from None
        raise


async def _run(config: Config, reload: Callable[[], Config], clock: Clock) -> None:
    _raise_file_limit()
    traffic, stop = Traffic(), asyncio.Event()
    _trace(config)
    timeouts = Timeouts(config.timeout.connect, config.timeout.first_byte, config.timeout.idle)
    async with new_session(timeouts) as session, asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, clock, traffic)
        daemon = _build(config, supervisor, session, traffic, clock)
        certificates = _certificates(config)
        server = pull_server(config, daemon.service, traffic, time.monotonic(), clock)
        daemon.exchanged = lambda: server.exchange(daemon.service)
        allow = None if is_loopback(config.admin[0]) else daemon.allow_operator
        operators = admin_app(daemon.operations(), allow)
        admin = web.AppRunner(operators, access_log=None)
        pulls = web.ServerRunner(server, shutdown_timeout=max(config.timeout.drain, 0.001))  # 0 would wait for ever
        handshakes = Handshakes(server, certificates.context) if certificates else None
        async with listening(admin, config.admin, "admin"), listening(pulls, config.listen, "listen", handshakes):
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop.set)
            loop.add_signal_handler(signal.SIGHUP, lambda: _reload(daemon, server, certificates, reload))
            for job in [*daemon.jobs(), Job("sweep connections", partial(_sweep, server), every=1.0)]:
                supervisor.start(job)
            if certificates is not None:
                supervisor.start(Job("certificates", certificates.step, every=5.0, delay=5.0))
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
    await asyncio.to_thread(tracing.shut_down)


def _trace(config: Config) -> None:
    if config.trace.endpoint:
        try:
            tracing.set_up(config.trace.endpoint, f"{socket.gethostname()}:{config.listen[1]}")
        except tracing.NotInstalled as error:
            raise CannotStart(str(error)) from error


def pull_server(config: Config, service: Service, traffic: Traffic, now: float, clock: Clock) -> PullServer:
    """`now` is of a clock that only goes forward, as are the times it is swept with; `clock` tells the time of day."""
    limits = config.limits
    clients = limits.clients(resource.getrlimit(resource.RLIMIT_NOFILE)[0], now)
    per_connection = ConnectionLimits(
        limits.request_line, limits.header, limits.header_time, limits.idle, limits.stalled
    )
    return PullServer(service, traffic, clients, per_connection, now, clock.now)


async def _sweep(server: PullServer) -> None:
    server.sweep(time.monotonic())


def _build(config: Config, supervisor: Supervisor, session: ClientSession, traffic: Traffic, clock: Clock) -> Daemon:
    try:
        return Daemon(config, supervisor, session, traffic, clock)
    except FormatUnknown as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(
            f"{config.data} cannot be used: {error}; set data, or EDGEPROXY_DATA, to another directory"
        ) from error


def _certificates(config: Config) -> Certificates | None:
    encryption = config.tls.encryption()
    try:
        return Certificates(encryption) if encryption is not None else None
    except CertificateInvalid as error:
        raise CannotStart(f"tls.{error}") from error


def _reload(
    daemon: Daemon, server: PullServer, certificates: Certificates | None, reload: Callable[[], Config]
) -> None:
    try:
        config = reload()
        daemon.configure(config)
    except Exception as error:
        log.error("the configuration stays as it was: %s", error)
        return
    server.exchange(daemon.service)
    encryption = config.tls.encryption()
    if certificates is not None and encryption is not None:
        certificates.renew(encryption)
    log.info(
        "configuration read again; listen (TLS or not), admin, data, memory, timeouts and limits "
        "take effect at the next start"
    )


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
