"""One line for each request: noted when its answer has gone out, written from behind."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from edgeproxy.api.reply import Reply
from edgeproxy.interfaces import Method
from edgeproxy.logs import Form, stamp
from edgeproxy.oci.reference import Reference

log = logging.getLogger(__name__)
_HITS, _MOST = 2_000, 50_000
"""Lines after which, until they are written, no more hits are noted, and nothing at all: how many is told."""


class Ended(NamedTuple):
    """A request whose answer has gone out, or will not any further."""

    time: float
    """When its answer was ready: seconds since the epoch."""
    address: str
    identity: str
    """Whoever it is known to come from; empty for nobody."""
    method: str
    about: Reference | str
    """What it asked for, or the target as it came."""
    status: int
    outcome: str
    sent: int
    """Bytes of the body."""
    length: int
    """How many these should have been."""
    seconds: float
    """From when it was read until its answer was out; 0 where nobody waited."""
    upstreams: Sequence[str]
    """Who brought what was not here."""
    detail: str


class RequestLog:
    """Bounded: what comes faster than it is written is counted and not told one by one."""

    def __init__(self, write: Callable[[str], object], form: Form, hits: int = _HITS, most: int = _MOST) -> None:
        """`write` takes whole lines; it may block."""
        self._write = write
        self._told = _in_json if form == "json" else _in_words
        self._hits = hits
        self._most = most
        self._rows: list[Any] = []
        self._untold = 0

    def hit(self, now: float, address: str, reply: Reply) -> None:
        """Answered at once, from memory. On the hot path: an append."""
        if len(self._rows) >= self._hits:
            self._untold += 1
            return
        assert reply.asked is not None
        head, _, about, _ = reply.asked
        method: Method = "HEAD" if head else "GET"
        sent = reply.span.length
        self._rows.append(
            (now, address, reply.identity, method, about, reply.status, reply.outcome, sent, sent, 0.0, (), "")
        )

    def ended(self, row: Ended) -> None:
        if len(self._rows) < (self._hits if row.outcome == "hit" else self._most):
            self._rows.append(row)
        else:
            self._untold += 1

    async def step(self) -> None:
        """Write what there is."""
        if self._rows or self._untold:
            await asyncio.to_thread(self.flush)

    def flush(self) -> None:
        """As `step`, here and now."""
        rows, self._rows = self._rows, []
        untold, self._untold = self._untold, 0
        if not log.isEnabledFor(logging.INFO):
            return
        lines = [self._told(Ended._make(row)) for row in rows]
        self._write("".join(f"{line}\n" for line in lines))
        if untold:
            log.info("%d more requests came faster than they are written down", untold)


def _in_words(row: Ended) -> str:
    who = f"{row.address} ({_plain(row.identity)!r})" if row.identity else row.address or "-"
    size = f"{row.sent} B" if row.sent == row.length else f"{row.sent} of {row.length} B"
    words = f"{who} {row.method} {row.about} {row.status} {row.outcome} {size} {row.seconds:.3f} s"
    if row.upstreams:
        words += f" from {', '.join(row.upstreams)}"
    if row.detail:
        words += f": {_plain(row.detail)}"
    return f"{stamp(row.time)} INFO    {log.name}: {words}"


def _in_json(row: Ended) -> str:
    document: dict[str, Any] = {
        "time": stamp(row.time), "level": "info", "logger": log.name, "client": row.address, "method": row.method,
        "reference": str(row.about), "status": row.status, "outcome": row.outcome, "bytes": row.sent,
        "seconds": round(row.seconds, 6),
    }  # fmt: skip
    if row.identity:
        document["identity"] = row.identity
    if row.sent != row.length:
        document["length"] = row.length
    if row.upstreams:
        document["upstreams"] = list(row.upstreams)
    if row.detail:
        document["detail"] = row.detail
    return json.dumps(document, ensure_ascii=False)


def _plain(text: str) -> str:
    """Nothing in it ends a line or colours it."""
    return "".join(each if each.isprintable() else "?" for each in text)
