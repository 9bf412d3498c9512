"""The words that the settings of all clients share."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

BEGIN, END = "# begin of what edgeproxy mirror wrote", "# end of what edgeproxy mirror wrote"


class CannotEdit(Exception):
    """A file that is there says something that cannot be changed without knowing what is meant by it."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """The daemon as its clients see it."""

    url: str
    """http://edge:5000"""
    ca: str = ""
    """The certificate of its authority, PEM, where clients do not trust that yet."""
    registries: Sequence[str] = ()
    """Those that are asked for here, and no others; none where it is all that a client can be told of."""

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def plain(self) -> bool:
        return self.url.startswith("http:")


Look = Callable[[str], str | None]
"""What a file says now, by its path; `None` where there is none."""
Write = Callable[[Mirror, Look], dict[str, str]]
"""From what files say now to what they have to say, all of it, by their paths. Raises `CannotEdit`."""


def without_block(text: str) -> str:
    """What was there before us, whatever address we had then."""
    kept, ours = [], False
    for line in io.StringIO(text, newline="\n"):
        ours = ours or line.strip() == BEGIN
        if not ours:
            kept.append(line)
        ours = ours and line.strip() != END
    return "".join(kept)
