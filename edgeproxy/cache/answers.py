"""What the core hands to whoever asked: the content, and how it was come by."""

import os
from typing import Literal, NamedTuple

from edgeproxy.cache.flights import Boarding, Flight
from edgeproxy.interfaces import Content, InMemory, OnDisk
from edgeproxy.oci.manifest import Descriptor

Word = Literal["hit", "miss", "stale", "collapsed"]


class Outcome(NamedTuple):
    """How an answer was come by, in the words of RFC 9211; `ttl` in whole seconds, below zero once stale."""

    word: Word
    ttl: int | None = None
    forwarded: Literal["", "uri-miss", "stale"] = ""
    detail: str = ""


HIT = Outcome("hit")
MISS = Outcome("miss", forwarded="uri-miss")
COLLAPSED = Outcome("collapsed", forwarded="uri-miss")


class Answer(NamedTuple):
    """`content` is `None` where only the descriptor was asked for. Whoever sends the content closes it."""

    descriptor: Descriptor
    content: Content | Boarding | None
    outcome: Outcome
    flight: Flight | None = None
    """What brought it, where it was not here."""


def read(content: Content) -> bytes:
    """All of a small content, which is closed."""
    if isinstance(content, InMemory):
        return content.body
    try:
        return os.pread(content.fd, content.size, 0)
    finally:
        os.close(content.fd)


def release(content: Content | Boarding | None) -> None:
    """Close what content holds open."""
    if isinstance(content, OnDisk):
        os.close(content.fd)
    elif isinstance(content, Boarding):
        content.close()
