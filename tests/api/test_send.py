"""Files in pieces."""

import asyncio
from pathlib import Path
from typing import Any

from aiohttp import web

from edgeproxy.api.send import Progress, _send_pieces
from edgeproxy.interfaces import Span

BODY = bytes(range(256)) * 8000


class Taken(web.StreamResponse):
    """To a client that takes whatever comes without a wait."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    async def write(self, data: Any) -> None:
        self.pieces.append(data)


async def test_pieces_are_what_the_span_says_and_let_others_in(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BODY)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    progress = Progress()
    taken, waiting = Taken(), asyncio.create_task(others())
    with (tmp_path / "file").open("rb") as file:
        assert await _send_pieces(file.fileno(), Span(1000, 1_999_999), taken, progress) == 1_999_999
        assert await _send_pieces(file.fileno(), Span(2_048_000 - 3, 3_000_000), Taken(), Progress()) == 2_048_000
    assert progress.sent == 1_998_999
    waiting.cancel()
    assert b"".join(taken.pieces) == BODY[1000:1_999_999]
    assert turns >= len(taken.pieces) > 10
