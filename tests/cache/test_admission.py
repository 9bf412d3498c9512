"""What is shown to everybody, by the word of a registry that shows some of its repositories only to those it knows."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from aiohttp import web
from yarl import URL

from edgeproxy.access.identity import NOBODY, Caller, Identity, Role
from edgeproxy.access.roles import Binding, Permitted, Subjects
from edgeproxy.cache.admission import Admission
from edgeproxy.oci.credentials import Credentials, lent
from edgeproxy.oci.errors import Denied, NameUnknown, TooManyRequests, Unauthorized, Unavailable
from edgeproxy.oci.reference import Repository
from edgeproxy.remote.logins import Login, given
from edgeproxy.remote.registry import Registry, Timeouts, new_session
from edgeproxy.remote.transport import Transport
from tests.cache.core import Core, running, until

OPEN, HIDDEN, NONE = (Repository("ghcr.io", f"acme/{name}") for name in ("open", "hidden", "none"))
TAG = "manifests/1.0"
EVERYBODY = Subjects.parse(["*"])
HOUR = 3601.0
HUBERT, OTHER = Credentials("hubert", "right"), Credentials("hubert", "wrong")
OWN, FALSE = Caller(own=HUBERT), Caller(own=OTHER)
ALICE = Caller(Identity("alice"))


class Gatekeeper:
    """Shows `open` to all, `hidden` to nobody that it does not know, and has nothing else."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status: dict[str, int] = {"open": 200, "hidden": 401}
        self.known: Credentials | None = None
        """Who is shown what is hidden."""
        self.shown: list[str] = []
        """The logins that it was shown."""
        self.page = ""
        """Where strangers are led to, if anywhere."""
        self.limited: str | None = None
        """The login that has asked too much."""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        login = request.headers.get("Authorization")
        self.shown += [login] if login else []
        self.asked.append(f"{request.method} {request.path}")
        if self.page == request.path:
            return web.Response(text="who are you?", content_type="text/html")
        status = self.status.get(request.path.split("/")[3], 404)
        if status == 401 and self.known is not None and login == self.known.basic():
            status = 200
        if status == 401 and self.page:
            return web.Response(status=302, headers={"Location": self.page})
        if login is not None and login == self.limited:
            return web.Response(status=429, headers={"Retry-After": "3600"})
        challenge = {"WWW-Authenticate": 'Basic realm="x"'} if status == 401 else {}
        return web.Response(status=status, headers=challenge)


@asynccontextmanager
async def keeping(
    *, login: bool = True, role: Literal["origin", "mirror", "peer"] = "origin"
) -> AsyncIterator[tuple[Gatekeeper, Registry]]:
    gatekeeper, timeouts = Gatekeeper(), Timeouts()
    runner = web.ServerRunner(web.Server(gatekeeper.answer, access_log=None), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with new_session(timeouts) as session:
            url = URL(f"http://127.0.0.1:{runner.addresses[0][1]}")
            ours = Login(given("me", lambda: "secret")) if login else None
            yield gatekeeper, Registry("upstream", url, Transport(session, url), ours, "edge", timeouts, role)
    finally:
        await runner.cleanup()


async def refusal(
    admission: Admission, repository: Repository, path: str = TAG, caller: Caller = NOBODY
) -> type[Exception] | None:
    try:
        await admission.admit(caller, repository, path)
    except Exception as error:
        return type(error)
    return None


async def until_cancelled(work: Coroutine[Any, Any, None]) -> None:
    """An upstream that does not answer."""
    work.close()
    await asyncio.Event().wait()


def is_open(core: Core, admission: Admission, repository: Repository, caller: Caller = NOBODY) -> bool:
    return admission.at_once(caller, repository, core.clock.now())


async def test_upstream_is_asked_once_without_our_login(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping() as (gatekeeper, registry):
        admission = core.admission({"ghcr.io": [registry]})
        assert not is_open(core, admission, OPEN)
        for _ in range(3):
            assert await refusal(admission, OPEN) is None
            assert await refusal(admission, HIDDEN) is Denied
        assert gatekeeper.asked == ["HEAD /v2/acme/open/manifests/1.0", "HEAD /v2/acme/hidden/manifests/1.0"]
        assert gatekeeper.shown == []
        assert is_open(core, admission, OPEN)
        assert not is_open(core, admission, HIDDEN)
        assert [admission.shows(NOBODY, each) for each in (OPEN, HIDDEN, NONE)] == [True, False, False]


async def test_without_a_login_of_ours_all_is_public_and_nobody_is_asked(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping(login=False) as (gatekeeper, registry):
        admission = core.admission({"ghcr.io": [registry]})
        assert is_open(core, admission, HIDDEN)
        assert await refusal(admission, HIDDEN) is None
        assert gatekeeper.asked == []


@pytest.mark.parametrize("asked_before", [True, False])
async def test_what_may_be_here_stays_private_when_the_login_is_taken_away(tmp_path: Path, asked_before: bool) -> None:
    rule = [Binding(Role.PULLER, Subjects.parse(["alice"]), ("*",))]
    async with running(tmp_path) as core, keeping() as (_, registry), keeping(login=False) as (_, bare):
        admission = core.admission({"ghcr.io": [registry]}, rule)
        if asked_before:
            assert await refusal(admission, HIDDEN) is Denied
        assert await refusal(admission, HIDDEN, caller=ALICE) is None
        for later in (core.admission({"ghcr.io": [bare]}, rule), core.admission()):
            assert not is_open(core, later, HIDDEN)
            assert await refusal(later, HIDDEN) is Denied


async def test_names_that_anybody_can_invent_leave_no_rows(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping() as (gatekeeper, registry):
        admission = core.admission({"ghcr.io": [registry]})
        for name in ("a", "b", "c"):
            gatekeeper.status[name] = 401  # as some registries say of what is not there
            for _ in range(2):
                assert await refusal(admission, Repository("ghcr.io", f"acme/{name}")) is Denied
        assert len(gatekeeper.asked) == 3
        assert list(core.catalog.scan("seen/")) == []


async def test_a_list_that_is_hidden_says_nothing_of_content(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping() as (gatekeeper, registry):
        admission = core.admission({"ghcr.io": [registry]})
        gatekeeper.status["open"] = 401
        assert await refusal(admission, OPEN, "tags/list") is Denied
        gatekeeper.status["open"] = 200
        assert await refusal(admission, OPEN) is None
        assert await refusal(admission, OPEN, "tags/list") is None


async def test_only_so_much_is_asked_at_a_time_whoever_leaves(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping() as (_, registry):
        core.interrupt = lambda work: until_cancelled(work)
        admission = core.admission({"ghcr.io": [registry]})
        waiting = [
            asyncio.create_task(refusal(admission, Repository("ghcr.io", f"acme/{number}"))) for number in range(1000)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert await refusal(admission, OPEN) is TooManyRequests


async def test_what_upstream_does_not_know_is_unknown_and_not_remembered(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping() as (gatekeeper, registry):
        admission = core.admission({"ghcr.io": [registry]})
        assert await refusal(admission, NONE) is NameUnknown
        gatekeeper.status["none"] = 200
        assert await refusal(admission, NONE) is None


@pytest.mark.parametrize("path", ["blobs/sha256:" + "a" * 64, "tags/list"])
async def test_whatever_is_asked_for_tells(tmp_path: Path, path: str) -> None:
    async with running(tmp_path) as core, keeping() as (gatekeeper, registry):
        admission = core.admission({"ghcr.io": [registry]})
        assert await refusal(admission, HIDDEN, path) is Denied
        assert gatekeeper.asked == [f"{'GET' if path == 'tags/list' else 'HEAD'} /v2/acme/hidden/{path}"]


async def test_an_upstream_that_fails_opens_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping() as (gatekeeper, registry):
        gatekeeper.status.update(open=503, hidden=429)
        admission = core.admission({"ghcr.io": [registry]})
        assert await refusal(admission, OPEN) is Unavailable
        gatekeeper.status["open"] = 200
        assert await refusal(admission, OPEN) is None


async def test_what_is_known_is_enough_while_upstream_fails_and_is_asked_again_behind(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping() as (gatekeeper, registry):
        admission = core.admission({"ghcr.io": [registry]})
        for repository in (OPEN, HIDDEN):
            await admission.learn(repository, TAG)
        core.clock.advance(HOUR)
        gatekeeper.status.update(open=503, hidden=200)
        assert not is_open(core, admission, OPEN)  # it takes the way on which upstream is asked again
        assert await refusal(admission, OPEN) is None
        assert await refusal(admission, HIDDEN) is Denied
        await until(lambda: core.catalog.seen(HIDDEN) == (True, core.clock.now()) and len(gatekeeper.asked) == 4)
        assert await refusal(admission, HIDDEN) is None
        assert await refusal(admission, OPEN) is None
        assert len(gatekeeper.asked) == 4  # not again at once where it failed


async def test_offline_what_is_known_is_all(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping() as (gatekeeper, registry):
        keepers = {"ghcr.io": [registry]}
        await refusal(core.admission(keepers), OPEN)
        offline = core.admission(keepers, offline=True)
        assert await refusal(offline, OPEN) is None
        assert await refusal(offline, HIDDEN) is Unavailable
        core.clock.advance(HOUR)
        assert await refusal(offline, OPEN) is None
        assert len(gatekeeper.asked) == 1


async def test_rules_open_and_close_without_asking_anybody(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping() as (gatekeeper, registry):
        keepers = {"ghcr.io": [registry]}
        opened = core.admission(keepers, [Binding(Role.PULLER, EVERYBODY, (str(HIDDEN),))])
        assert await refusal(opened, HIDDEN) is None
        assert is_open(core, opened, HIDDEN)
        closed = core.admission(keepers, [Binding(Role.PULLER, EVERYBODY, ("*",), deny=True)])
        assert await refusal(closed, OPEN) is Denied
        assert not is_open(core, closed, OPEN)
        assert gatekeeper.asked == []


async def test_lists_are_before_all_rules(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        rules = [Binding(Role.PULLER, EVERYBODY, ("*",))]
        admission = core.admission({}, rules, Permitted(deny=["ghcr.io/*"]))
        with pytest.raises(Denied, match=r"\[fetch\]"):
            await admission.admit(NOBODY, OPEN, TAG)
        assert not is_open(core, admission, OPEN)


async def test_a_certificate_of_ours_is_a_login(tmp_path: Path) -> None:
    """Whoever holds the door open for us by our certificate says nothing of others."""
    async with running(tmp_path) as core, new_session(Timeouts()) as session:
        url = URL("https://127.0.0.1:1")
        transport = Transport(session, url, named=ssl.create_default_context())
        registry = Registry("upstream", url, transport, None, "edge", Timeouts())
        assert await refusal(core.admission({"ghcr.io": [registry]}), OPEN) is Denied


async def test_what_is_brought_before_a_roll_out_is_asked_about_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping() as (gatekeeper, registry):
        admission = core.admission({"ghcr.io": [registry]})
        await admission.learn(OPEN, TAG)
        gatekeeper.status.update(open=503)
        await admission.learn(NONE, TAG)
        assert await refusal(admission, OPEN) is None


# logins


async def test_who_has_no_login_is_asked_for_one_where_there_is_a_way(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping() as (_, registry):
        admission = core.admission({"ghcr.io": [registry]}, logins=True)
        assert await refusal(admission, HIDDEN) is Unauthorized
        assert await refusal(admission, HIDDEN, caller=ALICE) is Denied
        assert await refusal(admission, OPEN) is None


async def test_a_rule_opens_it_to_whom_it_names(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping() as (_, registry):
        rules = [Binding(Role.PUSHER, Subjects.parse(["alice"]), (str(HIDDEN),))]
        admission = core.admission({"ghcr.io": [registry]}, rules, logins=True)
        assert await refusal(admission, HIDDEN, caller=ALICE) is None
        assert is_open(core, admission, HIDDEN, ALICE)
        assert not is_open(core, admission, HIDDEN)
        await admission.admit(ALICE, HIDDEN, TAG, Role.PUSHER)
        with pytest.raises(Denied) as told:
            await admission.admit(ALICE, OPEN, TAG, Role.PUSHER)
        assert told.value.reason == "role"


async def test_a_login_that_was_wrong_says_so_where_it_matters(tmp_path: Path) -> None:
    caller = Caller(trouble="the token has expired")
    async with running(tmp_path) as core, keeping() as (_, registry):
        admission = core.admission({"ghcr.io": [registry]}, logins=True)
        assert await refusal(admission, OPEN, caller=caller) is None
        with pytest.raises(Unauthorized, match="it is private; the token has expired") as told:
            await admission.admit(caller, HIDDEN, TAG)
        assert told.value.reason == "login"
        with pytest.raises(Unauthorized, match="the token has expired"):
            admission.welcome(caller, guarded=False)


async def test_a_name_that_is_guarded_wants_a_login(tmp_path: Path) -> None:
    async with running(tmp_path) as core:
        admission = core.admission(logins=True)
        admission.welcome(NOBODY, guarded=False)
        admission.welcome(ALICE, guarded=True)
        admission.welcome(OWN, guarded=True)
        with pytest.raises(Unauthorized):
            admission.welcome(NOBODY, guarded=True)


@pytest.mark.parametrize("ours", [True, False])
async def test_upstream_says_what_a_login_of_the_callers_own_opens(tmp_path: Path, ours: bool) -> None:
    async with running(tmp_path) as core, keeping(login=ours) as (gatekeeper, registry):
        gatekeeper.known = HUBERT
        admission = core.admission({"ghcr.io": [registry]}, pass_through=True, logins=True)
        assert not is_open(core, admission, HIDDEN, OWN)
        assert await refusal(admission, HIDDEN, caller=OWN) is None
        assert lent.get() == HUBERT
        assert is_open(core, admission, HIDDEN, OWN)
        assert await refusal(admission, HIDDEN) is Unauthorized
        assert lent.get() is None
        assert await refusal(admission, HIDDEN, caller=FALSE) is Unauthorized
        assert not is_open(core, admission, HIDDEN, FALSE)
        asked = len(gatekeeper.asked)
        assert await refusal(admission, HIDDEN, "blobs/sha256:" + "b" * 64, OWN) is None
        assert await refusal(admission, HIDDEN, caller=FALSE) is Unauthorized
        assert len(gatekeeper.asked) == asked  # what it opens is remembered, and what not, too


async def test_a_login_is_not_asked_about_where_none_is_needed(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping(login=False) as (gatekeeper, registry):
        admission = core.admission({"ghcr.io": [registry]}, pass_through=True, logins=True)
        assert await refusal(admission, OPEN, caller=OWN) is None
        assert lent.get() is None
        assert gatekeeper.asked == ["HEAD /v2/acme/open/manifests/1.0"]


async def test_a_login_for_another_registry_is_not_shown(tmp_path: Path) -> None:
    caller = Caller(own=HUBERT, own_for=frozenset({"docker.io"}))
    async with running(tmp_path) as core, keeping(login=False) as (gatekeeper, registry):
        gatekeeper.known = HUBERT
        admission = core.admission({"ghcr.io": [registry]}, pass_through=True, logins=True)
        assert await refusal(admission, HIDDEN, caller=caller) is Unauthorized
        assert gatekeeper.shown == []


@pytest.mark.parametrize("role", ["mirror", "peer"])
async def test_nor_is_it_to_anybody_but_the_registry_itself(tmp_path: Path, role: Literal["mirror", "peer"]) -> None:
    async with running(tmp_path) as core, keeping(login=False, role=role) as (gatekeeper, registry):
        gatekeeper.known = HUBERT
        admission = core.admission({"ghcr.io": [registry]}, pass_through=True, logins=True)
        assert await refusal(admission, HIDDEN, caller=OWN) is Unauthorized
        assert gatekeeper.shown == []


async def test_what_was_proven_holds_for_a_while_and_longer_while_upstream_fails(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping(login=False) as (gatekeeper, registry):
        gatekeeper.known = HUBERT
        admission = core.admission({"ghcr.io": [registry]}, pass_through=True, logins=True)
        assert await refusal(admission, HIDDEN, caller=OWN) is None
        core.clock.advance(300)
        assert not is_open(core, admission, HIDDEN, OWN)
        gatekeeper.known = None
        assert await refusal(admission, HIDDEN, caller=OWN) is Unauthorized  # upstream has taken it away
        gatekeeper.known = HUBERT
        core.clock.advance(10)
        assert await refusal(admission, HIDDEN, caller=OWN) is None
        gatekeeper.status["hidden"] = 503
        core.clock.advance(3599)
        assert await refusal(admission, HIDDEN, caller=OWN) is None
        core.clock.advance(1)
        assert await refusal(admission, HIDDEN, caller=OWN) is Unavailable


async def test_a_login_pushes_nothing_and_passes_no_rule_that_denies(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping(login=False) as (gatekeeper, registry):
        gatekeeper.known = HUBERT
        denied = [Binding(Role.PULLER, EVERYBODY, (str(HIDDEN),), deny=True)]
        admission = core.admission({"ghcr.io": [registry]}, denied, pass_through=True, logins=True)
        assert await refusal(admission, HIDDEN, caller=OWN) is Unauthorized
        with pytest.raises(Unauthorized):
            await admission.admit(OWN, OPEN, TAG, Role.PUSHER)
        assert gatekeeper.shown == []
