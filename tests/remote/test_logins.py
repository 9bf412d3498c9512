"""Where logins come from, and that they are fresh."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import UpstreamUnauthorized
from edgeproxy.remote import logins
from edgeproxy.remote.logins import Issued, Login, Source
from tests.remote.scripted import turns


class Changing:
    """A source that gives another password each time, for `life` seconds; it fails while `fails`."""

    def __init__(self, life: float | None = None) -> None:
        self.life = life
        self.asked = 0
        self.fails = False

    async def __call__(self) -> Issued:
        self.asked += 1
        await asyncio.sleep(0)
        if self.fails:
            raise UpstreamUnauthorized("the helper fails")
        return Issued(Credentials("me", f"password-{self.asked}"), self.life)


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def password(login: Login) -> str:
    credentials = await login.credentials()
    return credentials.password if credentials else ""


async def test_what_does_not_end_is_asked_for_once() -> None:
    source, time = Changing(), Time()
    login = Login(source, time)
    assert await asyncio.gather(*(password(login) for _ in range(5))) == ["password-1"] * 5
    time.now = 10**9
    assert await password(login) == "password-1"


async def test_it_is_renewed_ahead_of_its_end_and_nobody_waits() -> None:
    source, time = Changing(life=100.0), Time()
    login = Login(source, time)
    found = []
    for time.now in (0.0, 79.0, 80.0, 81.0, 159.0, 160.0, 161.0):
        found.append(await password(login))
        await turns()
    assert found == [f"password-{number}" for number in (1, 1, 1, 2, 2, 2, 3)]


async def test_one_that_has_ended_is_used_no_more() -> None:
    source, time = Changing(life=100.0), Time()
    login = Login(source, time)
    await password(login)
    time.now = 100.0
    assert await asyncio.gather(*(password(login) for _ in range(3))) == ["password-2"] * 3


async def test_one_that_cannot_be_renewed_is_used_to_its_end(caplog: pytest.LogCaptureFixture) -> None:
    source, time = Changing(life=100.0), Time()
    login = Login(source, time)
    await password(login)
    source.fails = True
    for time.now in (80.0, 81.0, 89.0, 90.0, 99.0):
        assert await password(login) == "password-1"
        await turns()
    assert source.asked == 3, "a source that fails has a rest"
    assert caplog.text.count("used for as long as it holds: the helper fails") == 2
    assert "password-1" not in caplog.text
    time.now = 100.0
    with pytest.raises(UpstreamUnauthorized):
        await password(login)
    source.fails = False
    assert await password(login) == f"password-{source.asked}"


async def test_a_refusal_renews_it_but_not_all_the_time() -> None:
    source, time = Changing(), Time()
    login = Login(source, time)
    await password(login)
    assert [await login.renew(), await login.renew()] == [True, False]
    assert await password(login) == "password-2"
    time.now = 10.0
    assert await login.renew()
    assert await password(login) == "password-3"


async def test_all_who_are_refused_at_once_share_a_renewal() -> None:
    source = Changing()
    login = Login(source)
    await password(login)
    assert await asyncio.gather(*(login.renew() for _ in range(4))) == [True] * 4
    assert source.asked == 2


async def test_a_source_that_has_just_failed_is_not_asked_because_of_a_refusal() -> None:
    source = Changing()
    source.fails = True
    login = Login(source)
    with pytest.raises(UpstreamUnauthorized):
        await login.credentials()
    assert not await login.renew()
    assert source.asked == 1


async def test_a_source_that_fails_is_asked_again() -> None:
    source = Changing()
    source.fails = True
    login = Login(source)
    for _ in range(2):
        with pytest.raises(UpstreamUnauthorized):
            await login.credentials()
    source.fails = False
    assert await password(login) == "password-3"


STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 9.0, 30.0, 79.0, 100.0]), st.sampled_from(["use", "refused", "fail", "mend"]))
)


@settings(deadline=None)
@given(STEPS)
def test_whatever_happens_nothing_is_used_past_its_end_and_no_refusal_asks_too_often(
    steps: list[tuple[float, str]],
) -> None:
    async def play() -> None:
        source, time = Changing(life=100.0), Time()
        login, began, renewals = Login(source, time), {0: 0.0}, [-100.0]
        for wait, step in steps:
            time.now += wait
            source.fails = {"fail": True, "mend": False}.get(step, source.fails)
            before = source.asked
            with contextlib.suppress(UpstreamUnauthorized):
                if step == "refused" and await login.renew():
                    assert time.now - renewals[-1] >= 10.0
                    renewals.append(time.now)
                if step == "use":
                    found = int((await password(login)).removeprefix("password-"))
                    assert time.now < began.get(found, time.now) + 100.0
            await turns()
            began.update(dict.fromkeys(range(before + 1, source.asked + 1), time.now))

    asyncio.run(play())


async def test_who_leaves_takes_the_answer_from_nobody() -> None:
    source = Changing()
    login = Login(source)
    one, other = asyncio.create_task(password(login)), asyncio.create_task(password(login))
    await asyncio.sleep(0)
    one.cancel()
    assert await other == "password-1"


def test_no_secret_is_shown() -> None:
    assert "hidden" not in repr(Credentials("me", "hidden", "hidden too")) + repr(Issued(Credentials("me", "hidden")))


async def of(source: Source) -> Credentials | None:
    return (await source()).credentials


async def test_a_password_is_read_again_each_time(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    source = logins.given("me", file.read_text)
    for text in ("older", "newer"):
        file.write_text(text)
        assert await of(source) == Credentials("me", text)
    file.unlink()
    with pytest.raises(UpstreamUnauthorized, match="the password of me cannot be read"):
        await source()
