"""Messages are told apart however they are cut into pieces."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from loadtests.link.exchanges import Request, Requests, Responses
from loadtests.link.terms import LIED_ABOUT

_GET = b"GET /v2/x/blobs/y HTTP/1.1\r\nHost: x\r\n\r\n"
_PUT = b"PUT /v2/x/manifests/y HTTP/1.1\r\nContent-Length: 12\r\n\r\n\r\n\r\nGET / \r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\r\n\r\n"
_BARE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n0\r\n\r\n"
_cuts = st.lists(st.integers(1, 60), max_size=20)


def _pieces(message: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(message[:size])
        message = message[size:]
    return [piece for piece in [*pieces, message] if piece]


@given(_cuts)
def test_requests(sizes: list[int]) -> None:
    requests, passed, found = Requests(), b"", []
    for piece in _pieces(_GET + _PUT + _GET, sizes):
        for part, request in requests.follow(piece):
            passed += part
            found += [request] if request else []
    assert passed == _GET + _PUT + _GET
    assert [(each.method, each.target) for each in found] == [
        ("GET", "/v2/x/blobs/y"),
        ("PUT", "/v2/x/manifests/y"),
        ("GET", "/v2/x/blobs/y"),
    ]


@given(_cuts)
def test_what_is_no_http_waits_for_nothing(sizes: list[int]) -> None:
    requests, hello = Requests(), b"\x16\x03\x01\x02\x00\x01 and no header ends in it"
    passed = [part for piece in _pieces(hello, sizes) for part, _ in requests.follow(piece)]
    assert passed == _pieces(hello, sizes)


@given(_cuts)
def test_the_reset_is_behind_the_header_of_its_answer(sizes: list[int]) -> None:
    asked = deque([Request("GET", "/"), Request("HEAD", "/"), Request("GET", "/", reset=True), Request("GET", "/")])
    responses, passed = Responses(asked), b""
    for piece in _pieces(_CONTINUE + _ANSWER + _BARE + _ANSWER + _CHUNKED, sizes):
        told, reset = responses.follow(piece, lie=1)
        passed += told[:reset]
        if reset is not None:
            break
    assert passed == _CONTINUE + _ANSWER + _BARE + _ANSWER[:-4]
    assert responses.lies == 0


@given(_cuts, st.integers(0, LIED_ABOUT))
def test_a_lie_is_in_its_place(sizes: list[int], lie: int) -> None:
    responses = Responses(deque([Request("GET", "/"), Request("GET", "/")]))
    size = LIED_ABOUT + 1
    message = _ANSWER + b"HTTP/1.1 206 OK\r\ncontent-length: %d\r\n\r\n" % size + bytes(size)
    told = b"".join(responses.follow(piece, lie)[0] for piece in _pieces(message, sizes))
    assert told == message[: lie - size] + b"\1" + message[len(message) + lie - size + 1 :]


@given(_cuts)
def test_what_has_no_length_passes_unread(sizes: list[int]) -> None:
    responses = Responses(deque([Request("GET", "/"), Request("GET", "/", reset=True)]))
    message = _CHUNKED + _ANSWER
    followed = [responses.follow(piece, lie=0) for piece in _pieces(message, sizes)]
    assert b"".join(told for told, _ in followed) == message
    assert all(reset is None for _, reset in followed)
