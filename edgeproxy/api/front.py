"""Hits in memory are answered where their request was parsed: no task, no wait, one system call.

Two of three requests to a registry ask for a manifest or a config that is in memory; for those, aiohttp's task per
request costs as much as all the rest. A `Front` takes the place of a connection's parser and answers what it can at
once; all else it hands on as if it were not there. Replies are made by the same code either way.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD

from edgeproxy.access.limits import Client
from edgeproxy.api import fields
from edgeproxy.api.pull import Pull
from edgeproxy.api.reply import Reply
from edgeproxy.interfaces import InMemory
from edgeproxy.oci.errors import FieldsTooLarge, Refusal, RequestInvalid, TargetTooLong


class Connection(Protocol):
    """The connection that a front stands on."""

    address: str
    client: Client | None
    """Whose requests are counted; `None` where nobody's are."""

    def is_idle(self) -> bool:
        """Whether an answer may go out now."""
        ...

    def write_at_once(self, head: bytes, body: bytes) -> None: ...

    @property
    def presented(self) -> str:
        """The name in the client's certificate; empty without one."""
        ...


class Server(Protocol):
    """Whose connection it is."""

    @property
    def pull(self) -> Pull: ...

    @property
    def now(self) -> float:
        """Seconds, exact to the second: cheaper than to ask for the time."""
        ...

    @property
    def wall(self) -> Callable[[], float]:
        """The time of day, in seconds since the epoch."""
        ...

    def answered(self, reply: Reply, now: float, address: str) -> None:
        """At once, and all of it."""
        ...


class Unreadable(HttpProcessingError):
    """What aiohttp's connection is told of a request that cannot be read; it has it answered and ends."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(code=refusal.status, message=refusal.message)
        self.refusal = refusal


class Front:
    """Stands before aiohttp's parser on one connection."""

    def __init__(self, parser: Any, connection: Connection, server: Server, longest: int) -> None:
        """`longest`: bytes of a header section, the request line included."""
        self._parser = parser
        self._connection = connection
        self._server = server
        self._longest = longest
        self.asked = server.now
        """When the last request was whole."""
        self.begun: float | None = server.now
        """Since when a header section is awaited that is not whole; the first from the connection's start on."""
        self._section = 0
        """Bytes of it."""
        self._body: Any = EMPTY_PAYLOAD
        """Of the last request."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> Any:
        """As aiohttp's parser: the messages that are still to be answered. Raises `Unreadable`."""
        try:
            parsed = self._parser.feed_data(data)
        except HttpProcessingError as error:
            raise Unreadable(self._refusal(error)) from error
        messages = parsed[0]
        if not messages:
            self._await_more(len(data))
            return parsed
        if self.begun is not None or len(data) > self._longest:
            self._end_section(messages, len(data))
        self.asked = self._server.now
        client = self._connection.client
        may_ask = client is None or client.spend(len(messages))
        if may_ask and len(messages) == 1 and self._connection.is_idle() and self._answered(*messages[0]):
            self._parser.message_consumed()
            return (), parsed[1], parsed[2]
        last, self._body = messages[-1]
        if last.method == "CONNECT":
            raise Unreadable(RequestInvalid("this is no proxy for connections: ask for what a registry has"))
        return parsed

    def busy(self, now: float) -> None:
        """An answer is being made: nobody waits for the client."""
        self.asked = now
        if self.begun is not None:
            self.begun = now

    def _await_more(self, size: int) -> None:
        if self._body is not EMPTY_PAYLOAD:
            if self._body.is_eof():
                self._body = EMPTY_PAYLOAD
        elif size:
            if self.begun is None:
                self.begun = self._server.now
            self._section += size
            if self._section > self._longest:
                raise Unreadable(self._too_large())

    def _end_section(self, messages: Sequence[Any], size: int) -> None:
        most = self._section + size
        self.begun, self._section = None, 0
        if most > self._longest and any(_section_size(message) > self._longest for message, _ in messages):
            raise Unreadable(self._too_large())

    def _refusal(self, error: HttpProcessingError) -> Refusal:
        """The parser says which bound was passed by its size only; that of a field is the whole section's."""
        if isinstance(error, LineTooLong) and error.args[1] != self._longest:
            return TargetTooLong(f"the request's target has more than {error.args[1]} bytes")
        if isinstance(error, LineTooLong):
            return self._too_large()
        if error.message.startswith("Too many headers"):
            return FieldsTooLarge("the request has too many header fields")
        return RequestInvalid(error.message[:300])

    def _too_large(self) -> Refusal:
        return FieldsTooLarge(f"the request's header section has more than {self._longest} bytes")

    def _answered(self, message: Any, payload: object) -> bool:
        if payload is not EMPTY_PAYLOAD or message.should_close or message.upgrade:
            return False
        now = self._server.wall()
        try:
            presented = self._connection.presented
            reply = self._server.pull.at_hand(message.path, message.method, message.headers, presented, now)
        except Refusal:
            return False
        if reply is None:
            return False
        assert isinstance(reply.body, InMemory)
        head = fields.head(reply.status, reply.about, reply.came_by, now)
        self._connection.write_at_once(head, reply.body.body[reply.span.start : reply.span.stop])
        self._server.answered(reply, now, self._connection.address)
        return True


def _section_size(message: Any) -> int:
    return len(message.path) + sum(len(name) + len(value) + len(": \r\n") for name, value in message.raw_headers)


def write_at_once(fd: int, head: bytes, body: bytes) -> bytes:
    """Hand as much as possible to the kernel without copying; what it did not take."""
    try:
        sent = os.writev(fd, (head, body))
    except BlockingIOError:
        sent = 0
    if sent >= len(head):
        return body[sent - len(head) :]
    return head[sent:] + body
