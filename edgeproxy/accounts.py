"""Logins at upstreams that operators give while the daemon runs: tried first, then kept, then used."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

from edgeproxy.admin.logins import Account, NotTaken
from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import NameInvalid
from edgeproxy.oci.reference import parse_registry
from edgeproxy.registries import RegistryConfig
from edgeproxy.remote.registry import Registry
from edgeproxy.remote.stored import StoredLogins


class Accounts:
    """Implements `admin.logins.Accounts`."""

    def __init__(
        self,
        stored: StoredLogins,
        settings: Callable[[], Mapping[str, RegistryConfig]],
        registries: Callable[[], Mapping[str, Sequence[Registry]]],
        renew: Callable[[], None],
    ) -> None:
        """`renew`: have what was kept, or was forgotten, take effect."""
        self._stored = stored
        self._settings = settings
        self._registries = registries
        self._renew = renew

    def known(self) -> list[Account]:
        kept = self._stored.names()
        found = list[Account]()
        for name, registry in self._settings().items():
            for upstream in registry.upstream:
                if upstream.has_login:
                    found.append(Account(name, upstream.host, upstream.username, False))
                elif upstream.host in kept:
                    found.append(Account(name, upstream.host, kept[upstream.host], True))
        return found

    async def login(self, name: str, credentials: Credentials) -> list[Account]:
        """Raises `NotTaken`, OSError, and the `Refusal` of an upstream that does not take it."""
        name = self._named(name)
        hosts = self._hosts(name)
        for registry in self._registries()[name]:
            if registry.host in hosts:
                await registry.try_login(credentials)
        for host in hosts:
            await asyncio.to_thread(self._stored.put, host, credentials)
        self._renew()
        return [Account(name, host, credentials.username, True) for host in hosts]

    async def logout(self, name: str) -> bool:
        """Whether there was a login. Raises `NotTaken`, OSError."""
        dropped = [await asyncio.to_thread(self._stored.drop, host) for host in self._hosts(self._named(name))]
        if any(dropped):
            self._renew()
        return any(dropped)

    def _named(self, text: str) -> str:
        known = self._settings()
        try:
            name = parse_registry(text)
        except NameInvalid as error:
            raise NotTaken(404, error.message) from error
        if name not in known:
            near = get_close_matches(name, known, 1) or ["docker.io"]
            raise NotTaken(404, f"{name} is no registry that is known here: configure it, or did you mean {near[0]}?")
        return name

    def _hosts(self, name: str) -> list[str]:
        """Of the registry itself, and not of its mirrors."""
        origins = [each for each in self._settings()[name].upstream if each.role == "origin"]
        free = [each.host for each in origins if not each.has_login]
        if not free:
            raise NotTaken(
                409,
                f"the login of {name} is the configuration's: change it there"
                if origins
                else f"{name} is asked by mirrors alone: give them a login in the configuration",
            )
        return list(dict.fromkeys(free))
