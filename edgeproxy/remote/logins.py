"""The login of an upstream, and how it is kept fresh.

A source is asked when a login is first wanted, ahead of the end of what it gave, and once more when upstream refuses
that. Nothing here writes a secret anywhere.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import Refusal, UpstreamUnauthorized

log = logging.getLogger(__name__)
_AHEAD = 0.8
"""The part of a life after which it is renewed."""
AT_MOST_EVERY = 10.0
"""Seconds between two renewals for the same reason: some content is simply not for us, and some sources stay broken."""
IDENTITY_TOKEN = "<token>"
"""The user name by which helpers say that the secret is an identity token (docker-credential-helpers)."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What a source gave; seconds for which it may be used, `None` for as long as nobody objects."""

    credentials: Credentials | None
    life: float | None = None


Source = Callable[[], Awaitable[Issued]]


class Login:
    """The login of one upstream; its source is asked once, however many wait for it."""

    def __init__(self, source: Source, now: Callable[[], float] = monotonic) -> None:
        self._source = source
        self._now = now
        self._issued: Issued | None = None
        self._ends = self._renew_at = float("inf")
        self._renewed = float("-inf")
        """When the source was last asked in vain, or because of a refusal."""
        self._asking: asyncio.Task[None] | None = None

    @property
    def held(self) -> Credentials | None:
        """What the source gave last, whether it still holds or not."""
        return self._issued.credentials if self._issued else None

    async def credentials(self) -> Credentials | None:
        """Raises `UpstreamUnauthorized` where the source has none to give and those of before have ended.

        Nobody waits for a renewal while those of before hold.
        """
        now = self._now()
        if self._issued is None or now >= self._ends:
            await asyncio.shield(self._ask())
        elif now >= self._renew_at:
            self._ask()
        return self.held

    async def renew(self) -> bool:
        """Ask the source again, because upstream refuses what it gave; False where that was done a moment ago.

        Who comes while the source is asked shares what it gives. Raises `UpstreamUnauthorized`.
        """
        if self._asking is None:
            if self._now() - self._renewed < AT_MOST_EVERY:
                return False
            self._renewed = self._now()
        await asyncio.shield(self._ask())
        return self.held is not None

    def _ask(self) -> asyncio.Task[None]:
        if self._asking is None:
            self._asking = asyncio.create_task(self._take(), name="login")
            self._asking.add_done_callback(self._asked)
        return self._asking

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._renewed = now = self._now()
        if self._issued is not None and now < self._ends:
            self._renew_at = max(self._renew_at, now + AT_MOST_EVERY)
            reason = error.message if isinstance(error, Refusal) else type(error).__name__
            log.warning("a login is not renewed, and used for as long as it holds: %s", reason)

    async def _take(self) -> None:
        began = self._now()
        issued = await self._source()
        life = float("inf") if issued.life is None else issued.life
        self._issued, self._ends, self._renew_at = issued, began + life, began + _AHEAD * life


def given(username: str, password: Callable[[], str]) -> Source:
    """A name, and a password that is read again each time: a file with a rotated secret works without a restart."""

    async def ask() -> Issued:
        try:
            return Issued(Credentials(username, password()))
        except Exception as error:
            raise UpstreamUnauthorized(f"the password of {username} cannot be read: {error}") from error

    return ask
