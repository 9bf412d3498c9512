"""Who sent bytes that were wrong, when a blob came from several upstreams: found by comparing it with the right one."""

import asyncio
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edgeproxy.interfaces import BlobWriter, Ranking, Span, Upstream

_PIECE = 1024 * 1024


class Print(NamedTuple):
    """The hash of what an upstream brought."""

    upstream: Upstream
    span: Span
    hash: bytes


class Blame:
    """The suspicions about one blob."""

    def __init__(self, ranking: Ranking) -> None:
        self._ranking = ranking
        self._prints: list[Print] = []

    async def suspect(self, sources: Mapping[Upstream, Sequence[Span]], writer: BlobWriter) -> list[Upstream]:
        """Who is known to be wrong: whoever brought all of it. Of several it is remembered who brought what."""
        if len(sources) == 1:
            [(upstream, spans)] = sources.items()
            if _length(spans) == writer.offset:
                self._ranking.judge(upstream, writer.offset, right=False)
                return [upstream]
        self._prints += await _prints(sources, writer)
        return []

    async def accuse(self, sources: Mapping[Upstream, Sequence[Span]]) -> None:
        """The right content could not be had: whoever took part is doubted."""
        for upstream, spans in sources.items():
            self._ranking.judge(upstream, _length(spans), right=False)

    async def resolve(self, sources: Mapping[Upstream, Sequence[Span]], writer: BlobWriter) -> None:
        """The content is right: those who brought it are, and the others are compared with it."""
        for upstream, spans in sources.items():
            self._ranking.judge(upstream, _length(spans), right=True)
        suspects: dict[Upstream, list[Span]] = {}
        for each in self._prints:
            suspects.setdefault(each.upstream, []).append(each.span)
        right = {(each.upstream, each.span): each.hash for each in await _prints(suspects, writer)}
        for upstream in {each.upstream for each in self._prints if right[each.upstream, each.span] != each.hash}:
            self._ranking.judge(upstream, _length(suspects[upstream]), right=False)


def _length(spans: Sequence[Span]) -> int:
    return sum(span.length for span in spans)


async def _prints(sources: Mapping[Upstream, Sequence[Span]], writer: BlobWriter) -> list[Print]:
    if not sources:
        return []
    fd = writer.reader().fd
    try:
        return [
            Print(upstream, span, await asyncio.to_thread(_hash, fd, span))
            for upstream, spans in sources.items()
            for span in spans
        ]
    finally:
        os.close(fd)


def _hash(fd: int, span: Span) -> bytes:
    hasher = hashlib.blake2b(digest_size=16)
    for at in range(span.start, span.stop, _PIECE):
        hasher.update(os.pread(fd, min(_PIECE, span.stop - at), at))
    return hasher.digest()
