"""HTTP/1.1 in bytes: requests as clients write them, answers read to the letter (RFC 9112)."""

import asyncio
import json
import re
from typing import NamedTuple

_START = re.compile(r"HTTP/1\.[01] ([1-5]\d\d) [ -~]*")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([!-~](?:[ -~]*[!-~])?)?")
_BODILESS = (204, 304)


class Parsed(NamedTuple):
    """An answer; its fields' names in lower case."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Of the first error in an OCI error document."""
        return str(json.loads(self.body)["errors"][0]["code"])


def request(target: str, *fields: str, method: str = "GET", version: str = "1.1", body: bytes = b"") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: edge", *fields, "", ""]).encode() + body


async def response(reader: asyncio.StreamReader, *, head_only: bool = False) -> Parsed:
    """The next answer. Whatever breaks the grammar, or leaves the body's end in doubt, is a failure."""
    section = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)).decode("ascii")
    first, *lines = section.removesuffix("\r\n\r\n").split("\r\n")
    start = _START.fullmatch(first)
    assert start, first
    fields: dict[str, str] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        assert found, line
        assert found[1].lower() not in fields, f"twice: {line}"
        fields[found[1].lower()] = found[2] or ""
    status = int(start[1])
    if head_only or status in _BODILESS:
        return Parsed(status, fields, b"")
    assert fields.keys() & {"content-length"}, section
    return Parsed(status, fields, await asyncio.wait_for(reader.readexactly(int(fields["content-length"])), 30))


async def responses(said: bytes, *, head_only: bool = False) -> list[Parsed]:
    """The answers that make up all that was said on a connection."""
    reader = asyncio.StreamReader()
    reader.feed_data(said)
    reader.feed_eof()
    found = []
    while not reader.at_eof():
        found.append(await response(reader, head_only=head_only))
    return found
