"""Who asks, by every way to say it; and what becomes of those who say it wrong."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.access.callers import Asking, Callers
from edgeproxy.access.identity import ANONYMOUS, NOBODY, Caller, Grant, Identity, Role
from edgeproxy.access.issuer import Issuer, new_key
from edgeproxy.access.users import Users
from edgeproxy.access.verifier import Verifier, read_key_set
from edgeproxy.oci.credentials import Credentials
from tests.access.signing import access, jwk, key, key_set, token
from tests.access.test_users import hashed, written
from tests.fakes.clock import ManualClock

KEY = key()
ISSUER = new_key()
ALICE, WRONG = Credentials("alice", "right"), Credentials("alice", "wrong")
HUB = Credentials("hubert", "of the hub")


def basic(credentials: Credentials) -> Asking:
    return Asking(credentials.basic())


def bearer(token: str, presented: str = "") -> Asking:
    return Asking(f"Bearer {token}", presented)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def callers(tmp_path: Path, threads: ThreadPoolExecutor, clock: ManualClock) -> Callers:
    """Who knows alice, the site's tokens, and a group."""
    return knowing(tmp_path, threads, clock)


def knowing(tmp_path: Path, threads: ThreadPoolExecutor, clock: ManualClock, *, pass_through: bool = False) -> Callers:
    users = Users(written(tmp_path, f"alice:{hashed('right')}\n"), threads)
    keys = read_key_set(key_set(tmp_path / "keys", jwk(KEY)))
    verifier = Verifier(keys, [], "site", "edge", lambda name: f"docker.io/{name}")
    groups = {"ci": ["bob", "alice"], "ops": ["node-1"]}
    return Callers(Issuer(ISSUER, 300), clock, users, verifier, groups, pass_through=pass_through)


async def test_who_says_nothing_is_nobody(callers: Callers) -> None:
    assert await callers.identify(Asking()) is NOBODY


async def test_a_password(callers: Callers, clock: ManualClock) -> None:
    caller = await callers.identify(basic(ALICE))
    assert caller.identity == Identity("alice", frozenset({"ci"}))
    assert callers.at_once(basic(ALICE), clock.now()) is caller
    assert callers.at_once(basic(ALICE), clock.now() + 300) is None
    wrong = await callers.identify(basic(WRONG))
    assert (wrong.identity, wrong.own) == (ANONYMOUS, None)
    assert "wrong" in wrong.trouble
    assert callers.at_once(basic(WRONG), clock.now() + 10) is None  # it may become right


@pytest.mark.parametrize("said", ["Basic Og==", "Basic", "basic !!!"])
async def test_an_empty_login_is_none(callers: Callers, said: str) -> None:
    """skopeo and podman send an empty name and password where they have none."""
    assert await callers.identify(Asking(said)) is NOBODY


@pytest.mark.parametrize("said", ["Bearer", "Bearer x", "Bearer a.b.c", "Digest x", "nonsense"])
async def test_what_is_no_login_opens_no_more_than_none(callers: Callers, said: str) -> None:
    caller = await callers.identify(Asking(said))
    assert caller.identity is ANONYMOUS
    assert caller.trouble


@given(st.text(st.characters(codec="latin-1"), max_size=100))
async def test_any_authorization_is_survived(text: str) -> None:
    callers = Callers(Issuer(ISSUER, 300), ManualClock())
    assert (await callers.identify(Asking(text))).identity is ANONYMOUS


# tokens


async def test_a_token_of_ours_is_who_logged_in(callers: Callers, clock: ManualClock) -> None:
    said, life = callers.token(await callers.log_in(ALICE))
    assert life == 300
    caller = await callers.identify(bearer(said))
    assert caller.identity == Identity("alice", frozenset({"ci"}))
    clock.advance(300)
    assert "expired" in (await callers.identify(bearer(said))).trouble


async def test_a_token_for_nobody_is_nobody(callers: Callers) -> None:
    said, _ = callers.token(NOBODY)
    assert await callers.identify(bearer(said)) is NOBODY


async def test_a_token_ends_with_the_password(tmp_path: Path, callers: Callers, clock: ManualClock) -> None:
    said, _ = callers.token(await callers.log_in(ALICE))
    assert (await callers.identify(bearer(said))).identity.name == "alice"
    written(tmp_path, f"alice:{hashed('another')}\n")
    callers.refresh()
    assert callers.at_once(bearer(said), clock.now()) is None
    caller = await callers.identify(bearer(said))
    assert caller.identity is ANONYMOUS
    assert "password was changed" in caller.trouble
    assert (await callers.identify(basic(ALICE))).trouble


async def test_users_that_stay_as_they_were_are_not_forgotten(callers: Callers, clock: ManualClock) -> None:
    caller = await callers.identify(basic(ALICE))
    callers.refresh()
    assert callers.at_once(basic(ALICE), clock.now()) is caller


async def test_a_token_of_the_site(callers: Callers, clock: ManualClock) -> None:
    said = token(KEY, sub="bob", groups=["them"], access=[access("app", "pull")], exp=clock.now() + 100)
    caller = await callers.identify(bearer(said))
    grants = frozenset({Grant("docker.io/app", Role.PULLER)})
    assert caller.identity == Identity("bob", frozenset({"ci", "them"}), grants)
    assert callers.at_once(bearer(said), clock.now() + 129) is caller
    assert callers.at_once(bearer(said), clock.now() + 130) is None
    assert (await callers.identify(bearer(token(key())))).trouble


# certificates


async def test_a_certificate_says_who_it_is_unless_a_login_does(callers: Callers) -> None:
    node = await callers.identify(Asking(presented="node-1"))
    assert node.identity == Identity("node-1", frozenset({"ops"}))
    assert (await callers.identify(Asking(ALICE.basic(), "node-1"))).identity.name == "alice"
    wrong = await callers.identify(Asking(WRONG.basic(), "node-1"))
    assert (wrong.identity.name, bool(wrong.trouble)) == ("node-1", True)
    assert (await callers.identify(Asking("Basic Og==", "node-1"))).identity.name == "node-1"
    nobodys, _ = callers.token(NOBODY)
    assert (await callers.identify(bearer(nobodys, "node-1"))).identity.name == "node-1"


# logins for upstream


async def test_a_login_of_nobody_here_is_the_callers_own_only_where_that_is_wanted(
    tmp_path: Path, threads: ThreadPoolExecutor, clock: ManualClock
) -> None:
    caller = await knowing(tmp_path, threads, clock).identify(basic(HUB))
    assert (caller.own, bool(caller.trouble)) == (None, True)
    passing = knowing(tmp_path, threads, clock, pass_through=True)
    caller = await passing.identify(basic(HUB))
    assert (caller.identity, caller.own, caller.trouble) == (ANONYMOUS, HUB, "")
    assert caller.login_for("docker.io") == HUB
    wrong = await passing.identify(basic(WRONG))
    assert wrong.own is None  # what is nearly alice's password is nobody else's business
    assert wrong.trouble


async def test_a_token_carries_it_for_the_registries_it_is_for(
    tmp_path: Path, threads: ThreadPoolExecutor, clock: ManualClock
) -> None:
    passing = knowing(tmp_path, threads, clock, pass_through=True)
    said, _ = passing.token(await passing.log_in(HUB), {"docker.io"})
    assert HUB.password not in said
    caller = await passing.identify(bearer(said, "node-1"))
    assert caller.identity.name == "node-1"
    assert caller.login_for("docker.io") == HUB
    assert caller.login_for("ghcr.io") is None
    assert (await knowing(tmp_path, threads, clock).identify(bearer(said))).trouble


def test_a_caller_shows_no_secret() -> None:
    assert HUB.password not in f"{Caller(own=HUB)!r} {HUB!r}"


# memory


async def test_only_so_many_are_remembered_and_no_long_ones(callers: Callers, clock: ManualClock) -> None:
    caller = await callers.identify(basic(ALICE))
    long = Asking("Digest " + "x" * 5000)
    await callers.identify(long)
    assert callers.at_once(long, clock.now()) is None
    first = Asking("Digest 0")
    for number in range(4096):
        await callers.identify(Asking(f"Digest {number}"))
    assert callers.at_once(first, clock.now()) is not None
    await callers.identify(Asking("Digest 4096"))
    assert callers.at_once(first, clock.now()) is None
    assert callers.at_once(basic(ALICE), clock.now()) is caller  # anybody can be wrong 4096 times a second


async def test_no_more_who_are_right_are_remembered(callers: Callers, clock: ManualClock) -> None:
    caller = await callers.identify(basic(ALICE))
    for number in range(4096):
        await callers.identify(Asking(presented=f"node-{number}"))
    assert callers.at_once(basic(ALICE), clock.now()) is None
    assert await callers.identify(basic(ALICE)) is not caller
