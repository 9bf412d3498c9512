"""Logins on the wire: who is challenged and how, tokens, and hits of those who have logged in."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from edgeproxy.access.callers import Asking
from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.digest import Digest
from edgeproxy.remote.tokens import parse_challenge
from tests.access.signing import jwk, key, key_set, token
from tests.access.test_users import hashed
from tests.api.conftest import HERE, Proxy, serving
from tests.api.wire import Parsed, request, response
from tests.parts.processes import wait_until

ALICE = Credentials("alice", "right").basic()
WRONG = Credentials("alice", "wrong").basic()
STRANGER = Credentials("stranger", "of the hub").basic()
MANIFEST = "/v2/team/app/manifests/1.0"
CLOSED = [
    {"deny": "puller", "to": ["anonymous"], "on": ["a.test/team/app"]},
    {"allow": "puller", "to": ["alice"], "on": ["a.test/team/app"]},
]


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    """`team/app` is for alice, all else for everybody."""
    (tmp_path / "users").write_text(f"alice:{hashed('right')}\n")
    auth = {"htpasswd": tmp_path / "users", "challenge": ["login.test"]}
    async with serving(tmp_path, {"auth": auth, "access": CLOSED}) as proxy:
        proxy.shelf.image(HERE, "1.0")
        proxy.shelf.image(HERE._replace(path="team/open"), "1.0")
        yield proxy


def authorization(value: str) -> str:
    return f"Authorization: {value}"


async def token_of(proxy: Proxy, login: str | None, target: str = "/token") -> tuple[Parsed, str]:
    answer = await proxy.ask(target, *([authorization(login)] if login else []))
    return answer, json.loads(answer.body).get("token", "")


def test_one_challenge_is_one_that_clients_understand() -> None:
    scheme, says = parse_challenge('Bearer realm="http://edge/token",service="a.test",scope="repository:x:pull"')
    assert (scheme, says["realm"], says["scope"]) == ("bearer", "http://edge/token", "repository:x:pull")


async def test_who_may_not_is_told_how_to_log_in(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    digest = Digest.of(b"none")
    for target in (
        MANIFEST,
        f"/v2/team/app/blobs/{digest}",
        "/v2/team/app/tags/list",
        f"/v2/team/app/referrers/{digest}",
    ):
        answer = await proxy.ask(target)
        assert (answer.status, answer.code) == (401, "UNAUTHORIZED"), target
        scheme, says = parse_challenge(answer.fields["www-authenticate"])
        expected = {"realm": "http://edge/token", "service": "a.test", "scope": "repository:a.test/team/app:pull"}
        assert (scheme, says) == ("bearer", expected)
    assert proxy.traffic.refused == {"denied": 4}
    assert f"refused to 127.0.0.1: GET {MANIFEST}: a.test/team/app is not for everybody here" in caplog.text


async def test_whoever_deletes_is_told_what_that_takes(proxy: Proxy) -> None:
    answer = await proxy.ask(MANIFEST, method="DELETE")
    assert answer.status == 401
    _, says = parse_challenge(answer.fields["www-authenticate"])
    assert says["scope"] == "repository:a.test/team/app:delete"


async def test_what_is_for_everybody_is_never_challenged(proxy: Proxy) -> None:
    for said in (None, ALICE, WRONG, STRANGER, "Bearer nonsense"):
        fields = [authorization(said)] if said else []
        answer = await proxy.ask("/v2/team/open/manifests/1.0", *fields)
        assert answer.status == 200
        assert "www-authenticate" not in answer.fields
    assert proxy.traffic.refused == {}


@pytest.mark.parametrize("said", [ALICE, "token"])
async def test_who_has_logged_in_is_served_and_hits_are_answered_at_the_front(proxy: Proxy, said: str) -> None:
    if said == "token":
        said = f"Bearer {(await token_of(proxy, ALICE))[1]}"
    assert (await proxy.ask(MANIFEST, authorization(said))).status == 200
    proxy.handled.clear()
    assert (await proxy.ask_front(MANIFEST, authorization(said))).status == 200
    assert proxy.handled == []
    assert (await proxy.ask_front(MANIFEST)).status == 401
    assert (await proxy.ask_front(MANIFEST, authorization(WRONG))).status == 401


async def test_one_connection_serves_several_callers_each_as_its_own(proxy: Proxy) -> None:
    async with proxy.connected() as (reader, writer):
        for said, status in ((ALICE, 200), (None, 401), (ALICE, 200), (WRONG, 401), (ALICE, 200)):
            writer.write(request(MANIFEST, *([authorization(said)] if said else [])))
            assert (await response(reader)).status == status


async def test_the_ping_says_how_to_log_in_and_keeps_nobody_out(proxy: Proxy) -> None:
    answer = await proxy.ask("/v2/")
    assert answer.status == 200
    expected = 'Bearer realm="http://edge/token",service="a.test"'
    assert answer.fields["www-authenticate"] == expected
    wrong = await proxy.ask("/v2/", authorization(WRONG))
    assert (wrong.status, wrong.code, wrong.fields["www-authenticate"]) == (401, "UNAUTHORIZED", expected)
    assert (await proxy.ask("/v2/", authorization(ALICE))).status == 200


@pytest.mark.parametrize("host", ["login.test", "LOGIN.test:5000"])
async def test_under_a_name_for_logins_the_ping_wants_one(proxy: Proxy, host: str) -> None:
    """`docker login` looks for the challenge there, and nowhere else."""
    said = request("/v2/", "Connection: close").replace(b"Host: edge", f"Host: {host}".encode())
    assert b" 401 " in (await proxy.say(said))[:15]
    said = request("/v2/", "Connection: close", authorization(ALICE)).replace(b"Host: edge", f"Host: {host}".encode())
    assert b" 200 " in (await proxy.say(said))[:15]


# the token endpoint


async def test_a_token_in_the_words_of_the_specification(proxy: Proxy) -> None:
    answer, said = await token_of(proxy, ALICE, "/token?service=a.test&scope=repository:a.test/team/app:pull")
    document = json.loads(answer.body)
    assert answer.status == 200
    assert answer.fields["cache-control"] == "no-store"
    assert document["access_token"] == said
    assert document["expires_in"] == 300
    assert document["issued_at"].endswith("Z")


@pytest.mark.parametrize("scope", ["", "&scope=repository:a.test/team/app:pull"])
async def test_a_wrong_login_gets_no_token_or_one_of_nobodys(proxy: Proxy, scope: str) -> None:
    """For itself it is refused; for pulling it gets what anybody gets, which opens no more than no token."""
    for login in (WRONG, STRANGER):
        answer, said = await token_of(proxy, login, f"/token?service=a.test{scope}")
        if not scope:
            assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
            assert proxy.traffic.refused["login"]
            continue
        assert answer.status == 200
        assert (await proxy.ask(MANIFEST, authorization(f"Bearer {said}"))).status == 401
        assert (await proxy.ask("/v2/team/open/manifests/1.0", authorization(f"Bearer {said}"))).status == 200


async def test_without_a_login_the_token_is_nobodys(proxy: Proxy) -> None:
    answer, said = await token_of(proxy, None)
    assert answer.status == 200
    assert (await proxy.ask(MANIFEST, authorization(f"Bearer {said}"))).status == 401


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"grant_type": "password", "username": "alice", "password": "right", "scope": "a b", "service": "x"}, 200),
        ({"grant_type": "password", "username": "alice", "password": "wrong"}, 401),
        ({"grant_type": "password"}, 400),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, 400),
        ({}, 400),
    ],
)
async def test_containerd_asks_by_a_form(proxy: Proxy, form: dict[str, str], status: int) -> None:
    body = urlencode(form).encode()
    answer = await posted(proxy, body)
    assert answer.status == status, answer.body
    if status == 200:
        said = json.loads(answer.body)["access_token"]
        assert (await proxy.ask(MANIFEST, authorization(f"Bearer {said}"))).status == 200


async def posted(proxy: Proxy, body: bytes) -> Parsed:
    async with proxy.connected() as (reader, writer):
        writer.write(request("/token", f"Content-Length: {len(body)}", method="POST", body=body))
        return await response(reader)


async def test_a_form_has_its_bounds(proxy: Proxy) -> None:
    assert ((await posted(proxy, b"x" * 65537)).status, (await posted(proxy, b"\xff")).status) == (413, 400)
    answer = await proxy.ask("/token", method="DELETE")
    assert (answer.status, answer.fields["allow"]) == (405, "GET, POST")


async def test_where_nobody_can_log_in_there_are_no_tokens_and_no_challenges(tmp_path: Path) -> None:
    async with serving(tmp_path, {"access": [{"deny": "puller", "on": ["a.test/team/app"]}]}) as proxy:
        answer = await proxy.ask(MANIFEST)
        assert (answer.status, answer.code) == (403, "DENIED")
        assert "www-authenticate" not in answer.fields
        assert "www-authenticate" not in (await proxy.ask("/v2/", authorization(WRONG))).fields
        assert (await proxy.ask("/token")).status == 404


async def test_a_token_of_the_site_is_asked_for_where_that_gives_it(tmp_path: Path) -> None:
    own = key()
    keys = {"keys": key_set(tmp_path / "keys", jwk(own)), "issuer": "site", "service": "edge"}
    auth = {"token": {**keys, "realm": "https://tokens.test/auth"}}
    async with serving(tmp_path, {"auth": auth, "access": CLOSED}) as proxy:
        proxy.shelf.image(HERE, "1.0")
        answer = await proxy.ask(MANIFEST)
        scope = "repository:a.test/team/app:pull"
        says = f'Bearer realm="https://tokens.test/auth",service="edge",scope="{scope}"'
        assert (answer.status, answer.fields["www-authenticate"]) == (401, says)
        now = proxy.daemon.clock.now()
        access = {"type": "repository", "name": "team/app", "actions": ["pull"]}
        for exp, status in ((now + 60, 200), (now - 60, 401)):
            said = token(own, sub="carol", exp=exp, access=[access])
            assert (await proxy.ask(MANIFEST, authorization(f"Bearer {said}"))).status == status
        assert (await proxy.ask("/token")).status == 404


async def test_what_a_client_calls_us_is_repeated_only_where_it_is_a_name(proxy: Proxy) -> None:
    said = request(MANIFEST, "Connection: close").replace(b"Host: edge", b'Host: a"b')
    answer = await proxy.say(said)
    assert b" 40" in answer[:15]
    assert b'a"b' not in answer.partition(b"\r\n\r\n")[0]


async def test_a_user_who_is_taken_away_is_out(proxy: Proxy, tmp_path: Path) -> None:
    said = f"Bearer {(await token_of(proxy, ALICE))[1]}"
    assert (await proxy.ask(MANIFEST, authorization(said))).status == 200
    (tmp_path / "users").write_text(f"bob:{hashed('other')}\n")
    proxy.daemon.callers.refresh()
    for login in (said, ALICE):
        assert (await proxy.ask_front(MANIFEST, authorization(login))).status == 401


async def test_the_catalogue_lists_what_its_reader_may_pull(proxy: Proxy) -> None:
    for name in ("team/app", "team/open"):
        assert (await proxy.ask(f"/v2/{name}/manifests/1.0", authorization(ALICE))).status == 200
    for fields, names in (
        ([], ["a.test/team/open"]),
        ([authorization(ALICE)], ["a.test/team/app", "a.test/team/open"]),
    ):
        assert json.loads((await proxy.ask("/v2/_catalog", *fields)).body)["repositories"] == names


async def test_a_login_is_known_again_without_another_look(proxy: Proxy) -> None:
    await proxy.ask(MANIFEST, authorization(ALICE))
    now = proxy.daemon.clock.now()
    assert proxy.daemon.callers.at_once(Asking(ALICE), now) is not None


async def test_a_crowd_of_wrong_logins_takes_nothing_from_those_who_need_none(proxy: Proxy) -> None:
    go = threading.Event()
    for _ in range(2):
        proxy.daemon._checks.submit(go.wait)  # nobody's password is checked meanwhile
    crowd = [
        asyncio.create_task(proxy.ask(MANIFEST, authorization(Credentials("mallory", str(number)).basic())))
        for number in range(40)
    ]
    users = proxy.daemon.callers._users
    assert users is not None
    await wait_until(lambda: users._pending[""] == 32, "the crowd is there")
    assert (await proxy.ask("/v2/team/open/manifests/1.0", authorization(STRANGER))).status == 200
    alice = asyncio.create_task(token_of(proxy, ALICE))
    await wait_until(lambda: users._pending["alice"] == 1, "alice is among those whose password is checked")
    go.set()
    assert (await alice)[0].status == 200
    assert {answer.status for answer in await asyncio.gather(*crowd)} == {401}


async def test_what_is_remembered_of_requests_is_small(proxy: Proxy) -> None:
    remembered = proxy.daemon.addresses._remembered
    for number in range(10):
        proxy.daemon.addresses.parse(f"/v2/a/manifests/{number}?x={'y' * 2000}", "edge")
    assert remembered.cache_info().currsize == 0
    proxy.daemon.addresses.parse("/v2/a/manifests/1", "edge")
    assert remembered.cache_info().currsize == 1
