"""Requests to a target: by which address, with which login, and what its answers mean."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping

import pytest
from aiohttp import web
from yarl import URL

from edgeproxy.interfaces import Urgency
from edgeproxy.oci.errors import (
    Denied,
    DigestInvalid,
    ManifestMalformed,
    RangeInvalid,
    Refusal,
    SizeInvalid,
    Unavailable,
    Unsupported,
    UpstreamUnauthorized,
)
from edgeproxy.oci.passage import passed
from edgeproxy.oci.version import Version
from edgeproxy.remote.registry import Timeouts
from tests.fakes.clock import ManualClock
from tests.parts.processes import free_port
from tests.remote.peers import HERE, LAYER, MiB, line, noise, parcel, peer_at, pushing_to, tagged
from tests.remote.scripted import LOGIN, always, raw, serving


async def test_another_address_answers_where_the_best_does_not() -> None:
    clock = ManualClock()
    async with serving(always()) as server:
        dead = URL(f"http://127.0.0.1:{free_port()}")
        async with pushing_to(dead, server.url, clock=clock) as pushing:
            for _ in range(3):
                assert (await pushing.ask("GET", "/v2/", None)).address == server.url


async def test_the_best_address_is_used_again_when_it_is_back() -> None:
    clock = ManualClock()
    async with serving(always()) as best, serving(always()) as other:
        best.answer = always(503)
        async with pushing_to(best.url, other.url, clock=clock) as pushing:
            assert (await pushing.ask("GET", "/v2/", None)).address == other.url
            best.answer = always()
            assert (await pushing.ask("GET", "/v2/", None)).address == other.url
            clock.advance(1)
            assert (await pushing.ask("GET", "/v2/", None)).address == best.url
            assert (await pushing.ask("GET", "/v2/", None)).address == best.url


async def test_what_all_addresses_say_is_what_the_target_says() -> None:
    said = always(503, b'{"errors": [{"message": "in the middle of an upgrade"}]}', {"Retry-After": "7"})
    async with serving(said) as one, serving(said) as two, pushing_to(one.url, two.url) as pushing:
        answer = await pushing.ask("GET", "/v2/", None)
        assert len(one.asked) == len(two.asked) == 1
        with pytest.raises(Unavailable, match="store answers with status 503: in the middle of an upgrade") as refused:
            pushing.check(answer, 200)
    assert refused.value.retry_after == 7


async def test_a_login_that_one_address_refuses_is_not_tried_at_the_others() -> None:
    challenge = always(401, headers={"WWW-Authenticate": "Negotiate"})
    async with (
        serving(challenge) as one,
        serving(always()) as two,
        pushing_to(one.url, two.url, credentials=LOGIN) as pushing,
    ):
        with pytest.raises(UpstreamUnauthorized, match="store does not take our login at http"):
            await pushing.ask("GET", "/v2/", HERE)
    assert two.asked == []


@pytest.mark.parametrize(
    ("status", "code", "meant", "words"),
    [
        (403, "DENIED", Denied, "the rights to push"),
        (400, "DIGEST_INVALID", DigestInvalid, ""),
        (400, "MANIFEST_INVALID", ManifestMalformed, ""),
        (405, "UNSUPPORTED", Unsupported, ""),
        (409, "BLOB_UPLOAD_INVALID", Unavailable, ""),
        (413, "SIZE_INVALID", SizeInvalid, ""),
        (416, "RANGE_INVALID", RangeInvalid, ""),
        (429, "TOOMANYREQUESTS", Unavailable, ""),
        (500, "", Unavailable, ""),
        (507, "INSUFFICIENT_STORAGE", Unavailable, "it is full"),
        (508, "LOOP_DETECTED", Unavailable, ""),
    ],
)
async def test_what_a_status_means(status: int, code: str, meant: type[Refusal], words: str) -> None:
    said = f'{{"errors": [{{"code": "{code}", "message": "so \\u001b[31m it is"}}]}}'.encode()
    async with serving(always(status, said, {"Retry-After": "9"})) as server, pushing_to(server.url) as pushing:
        answer = await pushing.ask("PUT", "/v2/", HERE)
        with pytest.raises(meant, match=rf"store answers with status {status}: so \?\[31m it is.*{words}") as refused:
            pushing.check(answer, 200)
    assert isinstance(refused.value, Unavailable) == (refused.value.retry_after == 9)


async def test_what_it_says_is_bounded() -> None:
    said = ('{"errors": [{"message": "' + "x" * 10_000 + '"}]}').encode()
    async with serving(always(400, said)) as server, pushing_to(server.url) as pushing:
        with pytest.raises(ManifestMalformed) as refused:
            pushing.check(await pushing.ask("PUT", "/v2/", HERE), 200)
    assert len(refused.value.message) < 400


async def test_an_answer_that_never_ends_is_left() -> None:
    async with serving(always(200, b"x" * 5 * MiB)) as server, pushing_to(server.url) as pushing:
        with pytest.raises(Unavailable, match="more than 4194304 bytes"):
            await pushing.ask("GET", "/v2/", None)


async def test_whom_a_request_has_passed_is_not_told_of_another() -> None:
    """What is replicated while another site's push is answered is a request of ours: there is no loop in that."""
    token = passed.set("edge-1")
    async with serving(always()) as server, pushing_to(server.url) as pushing:
        await pushing.ask("PUT", "/v2/team/app/manifests/1.0", HERE, body=b"{}")
    passed.reset(token)
    assert server.asked[0].headers["CDN-Loop"] == "this-proxy"


# where an upload goes on


@pytest.mark.parametrize("own", ["", "/registry"])
@pytest.mark.parametrize(
    "location", ["{own}/v2/x/blobs/uploads/1?_state=a%2Bb%3D", "{url}/v2/x/blobs/uploads/1?_state=a%2Bb%3D"]
)
async def test_a_place_at_any_of_its_addresses(own: str, location: str) -> None:
    async with serving(always()) as server, serving(always()) as other:
        url = server.url.with_path(own or "/")
        where = location.format(own=own, url=str(url).rstrip("/"))
        server.answer = always(202, headers={"Location": where})
        async with pushing_to(url, other.url) as pushing:
            place = pushing.place(await pushing.ask("POST", "/v2/x/blobs/uploads/", HERE))
            assert place == "/v2/x/blobs/uploads/1?_state=a%2Bb%3D"
            await pushing.ask("PATCH", place, HERE)
    assert server.asked[-1].target == f"{own}/v2/x/blobs/uploads/1?_state=a%2Bb%3D"


async def test_a_place_elsewhere_is_gone_to_without_our_login() -> None:
    async with serving(always(202)) as elsewhere, serving(always()) as server:
        server.answer = always(202, headers={"Location": f"{elsewhere.url}/take?signed=a%2Fb"})
        async with pushing_to(server.url, credentials=LOGIN) as pushing:
            opened = await pushing.ask("POST", "/v2/x/blobs/uploads/", HERE)
            await pushing.ask("PATCH", pushing.place(opened), HERE, body=LAYER)
    assert server.asked[-1].authorization == LOGIN.basic()
    assert [(each.target, each.authorization) for each in elsewhere.asked] == [("/take?signed=a%2Fb", None)]


@pytest.mark.parametrize("location", ["", "ftp://elsewhere.test/", "http://["])
async def test_a_place_that_is_none(location: str) -> None:
    async with serving(always(202, headers={"Location": location})) as server, pushing_to(server.url) as pushing:
        with pytest.raises(Unavailable, match="place to go on at"):
            pushing.place(await pushing.ask("POST", "/v2/x/blobs/uploads/", HERE))


# how long it takes


class Target:
    """Takes uploads; `taking` is what it does with a body."""

    def __init__(self, taking: Callable[[web.BaseRequest], Awaitable[None]] | None = None) -> None:
        self._taking = taking

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "PATCH" and self._taking is not None:
            await self._taking(request)
        status = {"GET": 200, "PUT": 201}.get(request.method, 202)
        return web.Response(status=status, headers={"Location": "/v2/upload"})


async def test_a_slow_line_is_waited_for_as_long_as_something_goes_over_it() -> None:
    """The whole takes longer than any wait may."""
    taken = 0

    async def slowly(request: web.BaseRequest) -> None:
        nonlocal taken
        while chunk := await request.content.read(256 * 1024):
            taken += len(chunk)
            await asyncio.sleep(0.1)  # what the line is like, not a wait of the test

    runner = web.ServerRunner(web.Server(Target(slowly).answer, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)  # its connections inherit it
    await web.SockSite(runner, listener).start()
    link = line()
    async with peer_at(f"http://127.0.0.1:{listener.getsockname()[1]}", link=link, timeouts=Timeouts(1, 1, 1)) as peer:
        receipt = await peer.send(parcel(noise(12 * MiB)))
    await runner.cleanup()
    assert receipt.sent == taken == link.bytes == 12 * MiB


@pytest.mark.parametrize("body", [LAYER, noise(12 * MiB)], ids=["that nobody answers", "that nobody takes"])
async def test_a_body_is_given_up(body: bytes) -> None:
    over = asyncio.Event()

    async def deaf(request: web.BaseRequest) -> None:
        await over.wait()

    async with serving(Target(deaf).answer) as server:
        async with peer_at(server.url, timeouts=Timeouts(0.2, 0.1, 0.1)) as peer:
            with pytest.raises(Unavailable, match="store cannot be reached at http"):
                await peer.send(parcel(body))
        over.set()


class Rationed:
    """A link whose share takes longer to come than a target may take to answer."""

    async def admit(self, upstream: str, size: int, urgency: Urgency) -> None:
        await asyncio.sleep(1.2)

    def began(self, upstream: str, seconds: float, urgency: Urgency) -> None: ...


async def test_the_link_may_keep_a_blob_waiting() -> None:
    patience = Timeouts(0.5, 0.25, 0.25)
    async with (
        serving(Target().answer) as server,
        peer_at(server.url, timeouts=patience, link=Rationed()) as peer,
    ):
        assert (await peer.send(parcel(LAYER))).sent == len(LAYER)


async def test_an_answer_that_breaks_off() -> None:
    async with raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{") as url, pushing_to(url) as pushing:
        with pytest.raises(Unavailable, match="store broke off at http"):
            await pushing.ask("GET", "/v2/", None)


def but(status: int, headers: Mapping[str, str] | None = None) -> Callable[[web.BaseRequest], Awaitable[web.Response]]:
    """This to everything but `/v2/`."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response() if request.path == "/v2/" else web.Response(status=status, headers=headers)

    return answer


async def test_a_blob_behind_a_redirect_is_there() -> None:
    """Registries that keep blobs in an object store lead there, by HEAD as well."""
    led = but(307, {"Location": "https://store.example.com/x"})
    async with serving(led) as server, peer_at(server.url) as peer:
        assert await peer.missing(HERE, [parcel(LAYER).blob.digest]) == []


async def test_the_first_of_many_refusals_ends_all_questions() -> None:
    async with serving(but(403)) as server, peer_at(server.url) as peer:
        with pytest.raises(Denied):
            await peer.missing(HERE, [parcel(bytes([number])).blob.digest for number in range(200)])
    assert len(server.asked) < 100


async def test_versions_are_for_sites_only() -> None:
    version = Version(1, "edge-1", {"edge-1": 1})
    async with serving(but(201)) as server, peer_at(server.url) as peer:
        await peer.send(tagged("1.0", b"{}")._replace(version=version, via=["edge-1"]))
    assert "Edgeproxy-Version" not in server.asked[-1].headers
