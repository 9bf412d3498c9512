"""Where logins come from, and that they are fresh."""

import asyncio
import base64
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproxy.oci.errors import UpstreamUnauthorized
from edgeproxy.remote.logins import Credentials, Issued, Login, Source, command, credential_helper, docker_config, given

ME = Credentials("me", "hidden")


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


async def test_it_is_renewed_ahead_of_its_end() -> None:
    source, time = Changing(life=100.0), Time()
    login = Login(source, time)
    found = []
    for time.now in (0.0, 79.0, 80.0, 159.0, 160.0):
        found.append(await password(login))
    assert found == ["password-1", "password-1", "password-2", "password-2", "password-3"]


async def test_one_that_cannot_be_renewed_is_used_to_its_end(caplog: pytest.LogCaptureFixture) -> None:
    source, time = Changing(life=100.0), Time()
    login = Login(source, time)
    await password(login)
    source.fails = True
    time.now = 99.0
    assert await password(login) == "password-1"
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


async def test_a_source_that_fails_is_asked_again() -> None:
    source = Changing()
    source.fails = True
    login = Login(source)
    for _ in range(2):
        with pytest.raises(UpstreamUnauthorized):
            await login.credentials()
    source.fails = False
    assert await password(login) == "password-3"


async def test_who_leaves_takes_the_answer_from_nobody() -> None:
    source = Changing()
    login = Login(source)
    one, other = asyncio.create_task(password(login)), asyncio.create_task(password(login))
    await asyncio.sleep(0)
    one.cancel()
    assert await other == "password-1"


def test_no_secret_is_shown() -> None:
    assert "hidden" not in repr(Credentials("me", "hidden", "hidden too")) + repr(Issued(ME))


async def of(source: Source) -> Credentials | None:
    return (await source()).credentials


async def test_a_password_is_read_again_each_time(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    source = given("me", file.read_text)
    for text in ("older", "newer"):
        file.write_text(text)
        assert await of(source) == Credentials("me", text)
    file.unlink()
    with pytest.raises(UpstreamUnauthorized, match="the password of me cannot be read"):
        await source()


# programs


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Path]:
    """A directory of programs, in front of all others."""
    directory, path = tmp_path / "bin", os.environ["PATH"]
    directory.mkdir()
    os.environ["PATH"] = f"{directory}:{path}"
    yield directory
    os.environ["PATH"] = path


def program(file: Path, text: str) -> str:
    file.write_text(f"#!{sys.executable}\nimport json, sys\n{text}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


HELPER = """
assert sys.argv[1:] == ["get"]
print(json.dumps({"ServerURL": "", "Username": "me", "Secret": "of " + sys.stdin.read()}))
"""


async def test_a_credential_helper_is_asked_for_its_server(programs: Path) -> None:
    program(programs / "docker-credential-mine", HELPER)
    assert await of(credential_helper("mine", "registry.test")) == Credentials("me", "of registry.test")


async def test_a_helper_may_give_an_identity_token(programs: Path) -> None:
    program(programs / "docker-credential-mine", 'print(json.dumps({"Username": "<token>", "Secret": "hidden"}))')
    found = await of(credential_helper("mine", "registry.test"))
    assert found == Credentials("<token>", identity_token="hidden")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sys.exit(3)", "fails with exit code 3"),
        ('print("hidden")', "prints no JSON object"),
        ("print([])", "prints no JSON object"),
        ("print({})", "has no login for registry.test"),
    ],
)
async def test_a_helper_that_fails_is_named(programs: Path, text: str, told: str) -> None:
    program(programs / "docker-credential-mine", text)
    with pytest.raises(UpstreamUnauthorized, match=f"docker-credential-mine {told}") as caught:
        await credential_helper("mine", "registry.test")()
    assert "hidden" not in caught.value.message


async def test_a_helper_that_is_not_there_is_named() -> None:
    with pytest.raises(UpstreamUnauthorized, match="docker-credential-none cannot be run: No such file"):
        await credential_helper("none", "registry.test")()


@pytest.mark.parametrize(
    ("more", "life"), [({}, None), ({"expires_in": 60}, 60.0), ({"expires_in": "60"}, 60.0), ({"expires_in": -5}, 0.0)]
)
async def test_a_command_says_how_long_its_login_holds(tmp_path: Path, more: dict[str, object], life: float) -> None:
    printed = json.dumps({"username": "me", "password": "hidden", **more})
    issued = await command([program(tmp_path / "login", f"print({printed!r})")])()
    assert issued == Issued(ME, life)


@pytest.mark.parametrize(("until", "ends"), [("2000-01-01T00:00:00Z", True), ("2999-01-01T00:00:00+02:00", False)])
async def test_a_command_may_say_until_when(tmp_path: Path, until: str, ends: bool) -> None:
    printed = json.dumps({"username": "me", "password": "hidden", "expires_at": until})
    issued = await command([program(tmp_path / "login", f"print({printed!r})")])()
    assert issued.life is not None
    assert (issued.life == 0.0) == ends


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("{}", "prints no password"),
        ('{"password": "hidden", "expires_in": "soon"}', "prints no time"),
        ('{"password": "hidden", "expires_at": "soon"}', "prints no time"),
    ],
)
async def test_a_command_that_makes_no_sense_is_named(tmp_path: Path, printed: str, told: str) -> None:
    words = [program(tmp_path / "login", f"print({printed!r})")]
    with pytest.raises(UpstreamUnauthorized, match=f"login {told}"):
        await command(words)()


# docker's configuration

AUTH = base64.b64encode(b"me:hidden").decode()


def written(tmp_path: Path, document: object) -> Path:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(document))
    return file


@pytest.mark.parametrize(
    ("host", "auths", "expected"),
    [
        ("registry.test", {"registry.test": {"auth": AUTH}}, ME),
        ("registry.test", {"https://registry.test": {"auth": AUTH}}, ME),
        ("registry-1.docker.io", {"https://index.docker.io/v1/": {"auth": AUTH}}, ME),
        ("registry.test", {"registry.test": {"username": "me", "password": "hidden"}}, ME),
        (
            "registry.test",
            {"registry.test": {"identitytoken": "hidden"}},
            Credentials("<token>", identity_token="hidden"),
        ),
        ("registry.test", {"other.test": {"auth": AUTH}}, None),
        ("registry.test", {}, None),
    ],
)
async def test_docker_s_logins_are_found(
    tmp_path: Path, host: str, auths: dict[str, object], expected: Credentials | None
) -> None:
    assert await of(docker_config(written(tmp_path, {"auths": auths}), host)) == expected


async def test_docker_s_helpers_are_asked(tmp_path: Path, programs: Path) -> None:
    for name in ("one", "store"):
        program(programs / f"docker-credential-{name}", HELPER.replace("of ", f"{name} "))
    document = {"credsStore": "store", "credHelpers": {"a.test": "one"}, "auths": {"c.test": {"auth": AUTH}}}
    file = written(tmp_path, document)
    found = [await of(docker_config(file, host)) for host in ("a.test", "b.test", "c.test")]
    assert [each.password for each in found if each] == ["one a.test", "store b.test", "hidden"]


@pytest.mark.parametrize("text", ["", "[]", "hidden", '{"auths": ["a.test"]}', '{"auths": {"a.test": {"auth": "%"}}}'])
async def test_what_is_no_docker_configuration_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(UpstreamUnauthorized, match=r"config.json is no docker configuration") as caught:
        await docker_config(file, "a.test")()
    assert "hidden" not in caught.value.message
