"""What was answered, noted while it is and learned from behind."""

from typing import NamedTuple

from edgeproxy.interfaces import Checked, Kind
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Reference

_HITS, _MOST = 4_000, 40_000
"""Notes after which, until all are taken, no more hits are noted, and nothing at all: what comes in thousands a second
tells nothing new, and to learn from it would take time from those who wait."""
Asked = tuple[bool, Kind, Reference, Descriptor | None]
"""Whether for the head only, for what, and what was shown: `None` is nothing. A plain tuple: every answer makes one."""


class Note(NamedTuple):
    """One answer; whoever takes it makes an `Access` of it."""

    time: float
    address: str
    asked: Asked
    outcome: str
    sent: int
    seconds: float


class Notes:
    """Bounded: what comes too fast to be taken is counted and dropped."""

    def __init__(self, hits: int = _HITS, most: int = _MOST) -> None:
        self._hits = hits
        self._most = most
        self._rows: list[tuple[float, str, Asked, str, int, float]] = []
        self._checked: list[Checked] = []
        self.dropped = 0

    def answered(self, now: float, address: str, asked: Asked, outcome: str, sent: int, seconds: float) -> None:
        """On the path of every answer: an append."""
        noted = len(self._rows)
        if noted < self._hits or (outcome != "hit" and noted < self._most):
            self._rows.append((now, address, asked, outcome, sent, seconds))
        else:
            self.dropped += 1

    def checked(self, checked: Checked) -> None:
        """Upstream was asked about a tag."""
        if len(self._checked) < self._most:
            self._checked.append(checked)
        else:
            self.dropped += 1

    @property
    def pressing(self) -> bool:
        """Whether something is noted that somebody may wait for: upstream has news."""
        return bool(self._checked)

    def take(self) -> list[Note | Checked]:
        """All there are; they are gone then."""
        rows, self._rows = self._rows, []
        checked, self._checked = self._checked, []
        return [*map(Note._make, rows), *checked]
