"""python -m loadtests.link HOST PORT CONTROL TARGET [TERMS]: relay HOST:PORT to 127.0.0.1:TARGET.

TERMS is a JSON object of `Terms`. At the port CONTROL each line is such an object too, with what is to change from now
on, and is answered with a line: the `Counts`.
"""

import asyncio
import json
import signal
import socket
import sys
from dataclasses import asdict

from loadtests.link.connection import Connection, Link
from loadtests.link.terms import Terms

_WAITING = 1024


async def main(host: str, port: int, control: int, target: int, terms: Terms) -> None:
    """Until SIGTERM."""
    link, ended = Link(("127.0.0.1", target), terms), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    with socket.create_server((host, port), backlog=_WAITING) as listening:
        listening.setblocking(False)
        accepting = asyncio.create_task(_accept(link, listening))
        async with await asyncio.start_server(lambda reader, writer: _obey(link, reader, writer), "127.0.0.1", control):
            await asyncio.wait([accepting, asyncio.create_task(ended.wait())], return_when=asyncio.FIRST_COMPLETED)
        if accepting.done():
            accepting.result()  # a mistake of ours ends the process
        accepting.cancel()


async def _accept(link: Link, listening: socket.socket) -> None:
    async with asyncio.TaskGroup() as connections:
        while True:
            client, _ = await asyncio.get_running_loop().sock_accept(listening)
            connections.create_task(Connection(link, client).run())


async def _obey(link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        link.change(json.loads(line))
        writer.write(json.dumps(asdict(link.counts)).encode() + b"\n")
        await writer.drain()
    writer.close()


if __name__ == "__main__":
    address, first, second, third, *rest = sys.argv[1:]
    asyncio.run(main(address, int(first), int(second), int(third), Terms(**json.loads("".join(rest) or "{}"))))
