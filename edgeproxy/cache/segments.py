"""Which bytes of a blob are whose: decided in plain functions, so that no byte is written twice."""

from collections.abc import Iterable, Sequence

from edgeproxy.interfaces import Span


class Claim:
    """The bytes that one connection brings: those from `position` on are still to come."""

    __slots__ = ("position", "stop")

    def __init__(self, position: int, stop: int | None) -> None:
        """`stop` is `None` as long as nobody knows the size of the blob."""
        self.position = position
        self.stop = stop

    def __repr__(self) -> str:
        return f"<Claim {self.position}-{self.stop}>"

    @property
    def left(self) -> int:
        """Bytes to come, as far as that is known."""
        return 0 if self.stop is None else self.stop - self.position

    def advance(self, size: int) -> int:
        """Take so many bytes more, or as many as are left; where they start. They count as here from now on."""
        start = self.position
        self.position += size if self.stop is None else min(size, self.left)
        return start


class Segments:
    """The bytes that nobody brings, in order."""

    def __init__(self, gaps: Iterable[Span]) -> None:
        self._free = list(gaps)

    @property
    def free(self) -> int:
        return sum(span.length for span in self._free)

    def take(self, most: int) -> Claim | None:
        """The earliest of them, `most` bytes at the most: clients read from the beginning."""
        if not self._free:
            return None
        first = self._free[0]
        stop = min(first.stop, first.start + most)
        self._free[:1] = [Span(stop, first.stop)] if stop < first.stop else []
        return Claim(first.start, stop)

    def extend(self, claim: Claim, most: int) -> bool:
        """Add what follows a claim, if nobody brings it."""
        for index, span in enumerate(self._free):
            if span.start == claim.stop:
                claim.stop = min(span.stop, span.start + most)
                self._free[index : index + 1] = [Span(claim.stop, span.stop)] if claim.stop < span.stop else []
                return True
        return False

    def give_back(self, claim: Claim) -> None:
        """What a connection did not bring is nobody's again."""
        self.cut(claim, claim.position)

    def cut(self, claim: Claim, stop: int) -> None:
        """Leave a claim its bytes up to `stop`."""
        if claim.stop is None or stop >= claim.stop:
            return
        self._free = sorted([*self._free, Span(stop, claim.stop)])
        claim.stop = stop


def gaps(size: int, offset: int, ahead: Sequence[Span]) -> list[Span]:
    """What is missing of `size` bytes where the first `offset` are here, and those `ahead`."""
    found = []
    for span in [*ahead, Span(size, size)]:
        if span.start > offset:
            found.append(Span(offset, min(span.start, size)))
        offset = max(offset, span.stop)
    return [span for span in found if span.length > 0]
