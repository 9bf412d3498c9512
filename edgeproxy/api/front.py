"""Hits in memory are answered where their request was parsed: no task, no wait, one system call.

Two of three requests to a registry ask for a manifest or a config that is in memory; for those, aiohttp's task per
request costs as much as all the rest. A `Front` takes the place of a connection's parser and answers what it can at
once; all else it hands on as if it were not there. Replies are made by the same code either way.
"""

import os
import time
from typing import Any, Protocol

from aiohttp.streams import EMPTY_PAYLOAD

from edgeproxy.api import fields
from edgeproxy.api.pull import Pull
from edgeproxy.api.reply import Reply
from edgeproxy.interfaces import InMemory
from edgeproxy.oci.errors import Refusal


class Connection(Protocol):
    """The connection that a front stands on."""

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

    def count(self, reply: Reply, seconds: float) -> None: ...


class Front:
    """Stands before aiohttp's parser on one connection."""

    def __init__(self, parser: Any, connection: Connection, server: Server) -> None:
        self._parser = parser
        self._connection = connection
        self._server = server

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> Any:
        """As aiohttp's parser: the messages that are still to be answered."""
        parsed = self._parser.feed_data(data)
        messages = parsed[0]
        if len(messages) == 1 and self._connection.is_idle() and self._answered(*messages[0]):
            self._parser.message_consumed()
            return (), parsed[1], parsed[2]
        return parsed

    def _answered(self, message: Any, payload: object) -> bool:
        if payload is not EMPTY_PAYLOAD or message.should_close or message.upgrade:
            return False
        now = time.time()
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
        self._server.count(reply, 0.0)
        return True


def write_at_once(fd: int, head: bytes, body: bytes) -> bytes:
    """Hand as much as possible to the kernel without copying; what it did not take."""
    try:
        sent = os.writev(fd, (head, body))
    except BlockingIOError:
        sent = 0
    if sent >= len(head):
        return body[sent - len(head) :]
    return head[sent:] + body
