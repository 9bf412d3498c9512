"""How those are whom we push to: asked now and then, and less often the longer they are away."""

import logging
from collections.abc import Callable

from edgeproxy.interfaces import Clock, Peer, Standing
from edgeproxy.oci.errors import Refusal
from edgeproxy.oci.reference import Repository
from edgeproxy.sites.tasks import backoff

log = logging.getLogger(__name__)
_HEARTBEAT = 15.0
"""Seconds between two looks at a target that was there at the last one."""


class Target:
    """A peer, and what was found when it was last asked; times in seconds since the epoch."""

    def __init__(self, peer: Peer, clock: Clock, chance: Callable[[], float]) -> None:
        self.peer = peer
        self._clock = clock
        self._chance = chance
        self.standing: Standing | None = None
        """`None` while it is away, or was never asked."""
        self.trouble = "not asked yet"
        self.failures = 0
        self.next_check = 0.0
        self.compared = False
        """Whether all it has was compared with all we have, since it was there again."""

    def is_due(self) -> bool:
        """Whether it is to be asked again."""
        return self._clock.now() >= self.next_check

    def wants_a_look(self) -> bool:
        """Whether it is to be asked again, or has come back and is to be compared."""
        return self.is_due() or (self.standing is not None and not self.compared)

    @property
    def source(self) -> str:
        """Its source id, where that is known."""
        return self.standing.source if self.standing else ""

    async def check(self, repository: Repository | None, wanted: int = 0) -> bool:
        """Whether it is there and takes what we push; `repository`: one that we push to, `wanted`: bytes to be sent."""
        try:
            standing = await self.peer.check(repository)
        except Refusal as refusal:
            self.lost(refusal.message)
            return False
        if self.standing is None:
            log.info("target %s is there: %s", self.peer.name, standing.path)
        self.standing, self.failures = standing, 0
        self.trouble = ""
        if standing.free is not None and standing.free < wanted:
            self.trouble = f"it has room for {standing.free} bytes, and {wanted} are to be sent: raise its cache.budget"
            log.warning("target %s: %s", self.peer.name, self.trouble)
        self.next_check = self._clock.now() + _HEARTBEAT
        return True

    def lost(self, trouble: str) -> None:
        """It is away, or does not let us in."""
        if self.standing is not None or trouble != self.trouble:
            log.warning("target %s is away: %s", self.peer.name, trouble)
        self.standing, self.trouble, self.compared = None, trouble, False
        self.failures += 1
        self.next_check = self._clock.now() + backoff(self.failures, self._chance())
