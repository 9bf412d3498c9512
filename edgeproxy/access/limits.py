"""How much one address may ask for, and all together: connections and requests. Knows no HTTP."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

from edgeproxy.oci.errors import TooManyRequests, Unavailable

Network = IPv4Network | IPv6Network
_BURST = 2.0
"""Seconds' worth of requests that may come at once."""
_REMEMBERED = 65536
"""Addresses without a connection that are remembered at most, for the requests they have spent."""


class Client:
    """What one address has: connections, and requests in a token bucket that `Clients.refill` fills."""

    __slots__ = ("connections", "requests")

    def __init__(self, requests: float) -> None:
        self.connections = 0
        self.requests = requests
        """What it may still ask for; below 0, more than it may has been asked for."""

    def spend(self, requests: int) -> bool:
        """Whether it may ask for so many more."""
        self.requests -= requests
        return self.requests >= 0

    def check(self) -> None:
        """Raises `TooManyRequests` where more has been spent than there was."""
        if self.requests < 0:
            raise TooManyRequests("too many requests a second from your address", retry_after=1)


class Clients:
    """Everybody who is connected, by address; IPv6 by the network of 64 bits that one site has at least."""

    def __init__(self, connections: int, each: int, requests: int, exempt: Sequence[Network], now: float) -> None:
        """`each`: connections of one address; `requests`: its requests per second.

        Addresses in `exempt` count only among all `connections`.
        """
        self._connections = connections
        self._each = each
        self._rate = requests
        self._exempt = tuple(exempt)
        self._open = 0
        self._clients: dict[IPv4Address | int, Client] = {}
        self._filled = now

    def __len__(self) -> int:
        """Addresses that are remembered."""
        return len(self._clients)

    def enter(self, address: str) -> Client | None:
        """A connection from there; `None` where the address does not count.

        Raises `Unavailable` where there are too many of all, `TooManyRequests` where there are too many from there.
        """
        if self._open >= self._connections:
            raise Unavailable("too many connections", retry_after=1)
        key = self._key(address)
        client = None
        if key is not None:
            client = self._clients.get(key) or Client(self._rate * _BURST)
            if client.connections >= self._each:
                raise TooManyRequests("too many connections from your address", retry_after=1)
            client.connections += 1
            self._clients[key] = client
        self._open += 1
        return client

    def leave(self, address: str) -> None:
        """A connection that had entered has ended."""
        self._open -= 1
        key = self._key(address)
        if key is not None:
            client = self._clients[key]
            client.connections -= 1
            self._forget(key, client)

    def refill(self, now: float) -> None:
        """Called once a second or so. Who has gone is forgotten when nothing of what was spent is missing."""
        gained = self._rate * max(0.0, now - self._filled)
        self._filled = now
        for key, client in list(self._clients.items()):
            client.requests = min(self._rate * _BURST, max(0.0, client.requests) + gained)
            self._forget(key, client)

    def _forget(self, key: IPv4Address | int, client: Client) -> None:
        whole = client.requests >= self._rate * _BURST
        if not client.connections and (whole or len(self._clients) > self._connections + _REMEMBERED):
            del self._clients[key]

    def _key(self, address: str) -> IPv4Address | int | None:
        parsed = ip_address(address)
        if parsed.version == 6:
            parsed = parsed.ipv4_mapped or parsed
        if any(parsed in network for network in self._exempt):
            return None
        return parsed if isinstance(parsed, IPv4Address) else int(parsed) >> 64
