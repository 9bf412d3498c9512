"""Replies on their way out: from memory, from a file by sendfile, or from a file that is still growing."""

import asyncio
import logging
import os
from contextlib import aclosing

from aiohttp import web

from edgeproxy.api import fields
from edgeproxy.api.pull import PassThrough
from edgeproxy.api.reply import Reply
from edgeproxy.cache.answers import release
from edgeproxy.cache.flights import Boarding, Spilled
from edgeproxy.interfaces import InMemory, OnDisk, Span
from edgeproxy.oci.errors import Refusal

log = logging.getLogger(__name__)
_PIECE = 128 * 1024
"""Bytes that are encrypted at once: less costs more processor, more lies in memory for every slow client."""


class BrokenOff(ConnectionError):
    """The body cannot be finished: the connection ends short of its Content-Length, which every client notices."""


class Progress:
    """How many bytes of a body have gone out."""

    def __init__(self) -> None:
        self.sent = 0


async def send(
    request: web.BaseRequest, reply: Reply, past_disk: PassThrough, progress: Progress
) -> web.StreamResponse:
    """Send all of a reply. Raises `BrokenOff`, or ConnectionError where the client left."""
    try:
        if isinstance(reply.body, InMemory) or reply.body is None or not reply.span.length:
            return await _send_bytes(request, reply, progress)
        response = _response(reply)
        await response.prepare(request)
        if isinstance(reply.body, OnDisk):
            await _send_file(request, reply.body, reply.span, response, progress)
        else:
            await _send_growing(request, reply.body, reply.span, past_disk, response, progress)
        return response
    finally:
        release(reply.body)


async def _send_bytes(request: web.BaseRequest, reply: Reply, progress: Progress) -> web.StreamResponse:
    response = _response(reply)
    await response.prepare(request)
    if reply.span.length and isinstance(reply.body, InMemory):
        await response.write(reply.body.body[reply.span.start : reply.span.stop])
    await response.write_eof()
    progress.sent = reply.span.length
    await request.writer.drain()  # who asks on and on and reads no answer is asked to wait
    return response


def _response(reply: Reply) -> web.StreamResponse:
    return web.StreamResponse(status=reply.status, headers=[*fields.common(), *reply.about, *reply.came_by])


class _Descriptor:
    """The little of a file object that the event loop's sendfile asks for."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd


async def _send_file(
    request: web.BaseRequest, file: OnDisk, span: Span, response: web.StreamResponse, progress: Progress
) -> None:
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client left")
    if transport.get_extra_info("sslcontext") is not None:
        start = await _send_pieces(file.fd, span, response, progress)
    else:
        start = await _sendfile(transport, file.fd, span, progress)
    if start < span.stop:
        raise BrokenOff(f"a file ended {span.stop - start} bytes early")


async def _sendfile(transport: asyncio.Transport, fd: int, span: Span, progress: Progress) -> int:
    """Returns where the file ended, if that is short of the span's end."""
    at_once = _sendfile_at_once(transport, fd, span)
    start = span.start + at_once
    progress.sent += at_once
    if start == span.stop:
        return start
    loop = asyncio.get_running_loop()
    try:
        sent = await loop.sendfile(transport, _Descriptor(fd), start, span.stop - start)  # type: ignore[arg-type]
    except BaseException:
        progress.sent += max(0, os.lseek(fd, 0, os.SEEK_CUR) - start)  # where it leaves the file, and nothing else does
        raise
    progress.sent += sent
    return start + sent


async def _send_pieces(fd: int, span: Span, response: web.StreamResponse, progress: Progress) -> int:
    """What goes out encrypted has to be read. Returns as `_sendfile`."""
    start = span.start
    while start < span.stop and (piece := os.pread(fd, min(_PIECE, span.stop - start), start)):
        await response.write(piece)
        start += len(piece)
        progress.sent += len(piece)
        await asyncio.sleep(0)  # a client as fast as we are would never let anybody else in
    return start


def _sendfile_at_once(transport: asyncio.Transport, fd: int, span: Span) -> int:
    """Bytes that the kernel takes without a wait: often all, and the event loop's sendfile costs more than that."""
    if transport.get_write_buffer_size():
        return 0
    try:
        return os.sendfile(transport.get_extra_info("socket").fileno(), fd, span.start, span.length)
    except BlockingIOError:
        return 0


async def _send_growing(
    request: web.BaseRequest,
    boarding: Boarding,
    span: Span,
    past_disk: PassThrough,
    response: web.StreamResponse,
    progress: Progress,
) -> None:
    try:
        position = await _send_as_it_grows(request, boarding, span, response, progress)
        if position < span.stop:
            async with aclosing(past_disk(boarding.flight, boarding.file.fd, position)) as pieces:
                async for piece in pieces:
                    part = piece[: span.stop - position]
                    await response.write(part)
                    position += len(part)
                    progress.sent += len(part)
                    if position == span.stop:
                        break
    except Refusal as refusal:
        raise BrokenOff(refusal.message) from refusal
    if position < span.stop:
        raise BrokenOff(f"upstream ended {span.stop - position} bytes early")


async def _send_as_it_grows(
    request: web.BaseRequest, boarding: Boarding, span: Span, response: web.StreamResponse, progress: Progress
) -> int:
    """Each reader at its own pace: what there is goes out by sendfile, then it waits for more.

    Returns where it stopped, short of the span's end where the disk took no more.
    """
    position = span.start
    try:
        while position < span.stop:
            ready = min(await boarding.flight.ready(position), span.stop)
            if ready > position:
                await _send_file(request, boarding.file, Span(position, ready), response, progress)
                position = ready
    except Spilled:
        log.debug("past the disk from byte %d of %s on", position, boarding.flight.pinned)
    return position
