"""As much HTTP/1.1 as tells one request from the next and a header from a body.

One request at a time on a connection. Where a message's length is not told by Content-Length, the rest of that
direction is passed on unread; so is what is no HTTP, as the TLS by which clients try whether a registry speaks it.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from loadtests.link.terms import LIED_ABOUT

_END = b"\r\n\r\n"
_LONGEST_HEAD = 64 * 1024


@dataclass
class Request:
    method: str
    target: str
    reset: bool = False
    """Whether the connection is reset behind the header of its answer."""


class Requests:
    """The client's side."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._body = 0
        self._unread = False

    def follow(self, piece: bytes) -> Iterator[tuple[bytes, Request | None]]:
        """The bytes in order, with the request where they are a header; the start of a header waits for its end."""
        while piece:
            if self._unread:
                yield piece, None
                return
            if self._body:
                part, piece = piece[: self._body], piece[self._body :]
                self._body -= len(part)
                yield part, None
                continue
            if not self._head and not piece[:1].isalpha():
                self._unread = True
                continue
            self._head += piece
            head, end, rest = bytes(self._head).partition(_END)
            if not end and len(head) < _LONGEST_HEAD:
                return
            self._head.clear()
            piece = rest
            yield head + end, self._begin(head) if end else None

    def _begin(self, head: bytes) -> Request:
        line, fields = _parse(head)
        length = fields.get("content-length", "0")
        self._unread = "transfer-encoding" in fields or not length.isdecimal()
        self._body = 0 if self._unread else int(length)
        method, _, rest = line.partition(" ")
        return Request(method, rest.partition(" ")[0])


class Responses:
    """The server's side, answering what `asked` holds in order."""

    def __init__(self, asked: deque[Request]) -> None:
        self.lies = 0
        self._asked = asked
        self._head = bytearray()
        self._size = 0
        self._left = 0
        self._unread = False

    def follow(self, piece: bytes, lie: int | None) -> tuple[bytes, int | None]:
        """The piece with what is wrong in it, and where in it the connection is to be reset."""
        position = 0
        while position < len(piece) and not self._unread:
            if self._left:
                step = min(self._left, len(piece) - position)
                wrong = -1 if lie is None or self._size <= LIED_ABOUT else lie - (self._size - self._left)
                if 0 <= wrong < step:
                    piece = _flipped(piece, position + wrong)
                    self.lies += 1
                self._left -= step
                position += step
                continue
            begun = len(self._head)
            self._head += piece[position:]
            head, end, _ = bytes(self._head).partition(_END)
            if not end:
                self._unread = len(head) >= _LONGEST_HEAD
                return piece, None
            position += len(head) + len(_END) - begun
            self._head.clear()
            if self._begin(head):
                return piece, position
        return piece, None

    def _begin(self, head: bytes) -> bool:
        """Whether the connection is to be reset now."""
        line, fields = _parse(head)
        status = line.partition(" ")[2][:3]
        if status.startswith("1") or not self._asked:
            self._unread = not self._asked
            return False
        request = self._asked.popleft()
        bare = request.method == "HEAD" or status in ("204", "304")
        length = "0" if bare else fields.get("content-length", "")
        self._unread = not length.isdecimal()
        self._size = self._left = 0 if self._unread else int(length)
        return request.reset


def _flipped(piece: bytes, position: int) -> bytes:
    return piece[:position] + bytes([piece[position] ^ 1]) + piece[position + 1 :]


def _parse(head: bytes) -> tuple[str, dict[str, str]]:
    """The first line, and the fields by their names in lower case."""
    line, *rest = head.decode("latin-1").split("\r\n")
    pairs = (field.partition(":") for field in rest)
    return line, {name.strip().lower(): value.strip() for name, _, value in pairs}
