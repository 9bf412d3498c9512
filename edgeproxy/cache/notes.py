"""What was answered, noted while it is and learned from behind."""

from typing import NamedTuple

from edgeproxy.interfaces import Checked, Kind
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Reference

_MOST = 50_000


class Asked(NamedTuple):
    """What a request was for, and what it was shown."""

    head: bool
    kind: Kind
    reference: Reference
    descriptor: Descriptor | None
    """`None` where nothing was shown."""


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

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._rows: list[Note | Checked] = []
        self.dropped = 0

    def add(self, row: Note | Checked) -> None:
        """On the path of every answer: an append."""
        if len(self._rows) < self._most:
            self._rows.append(row)
        else:
            self.dropped += 1

    def take(self) -> list[Note | Checked]:
        """All there are, in the order of time; they are gone then."""
        rows, self._rows = self._rows, []
        return rows
