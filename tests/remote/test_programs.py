"""Programs that know logins: what is understood of them, and how they are named when they fail."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import UpstreamUnauthorized
from edgeproxy.remote.logins import Issued, Source
from edgeproxy.remote.programs import ask_helper, command, credential_helper, read_login
from tests.parts.processes import wait_until
from tests.remote.conftest import HELPER, program

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
ME = Credentials("me", "hidden")


async def given_by(source: Source) -> Credentials | None:
    return (await source()).credentials


async def test_a_credential_helper_is_asked_for_its_server(programs: Path) -> None:
    program(programs / "docker-credential-mine", HELPER)
    assert await given_by(credential_helper("mine", "registry.test")) == Credentials("me", "of registry.test")


async def test_a_helper_may_give_an_identity_token(programs: Path) -> None:
    program(programs / "docker-credential-mine", 'print(json.dumps({"Username": "<token>", "Secret": "hidden"}))')
    found = await given_by(credential_helper("mine", "registry.test"))
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


NOT_FOUND = 'print("credentials not found in native keychain"); sys.exit(1)'


async def test_a_helper_that_holds_nothing_is_told_from_one_that_fails(programs: Path) -> None:
    program(programs / "docker-credential-mine", NOT_FOUND)
    assert await ask_helper("mine", "registry.test") is None
    with pytest.raises(UpstreamUnauthorized, match="docker-credential-mine has no login"):
        await credential_helper("mine", "registry.test")()


async def test_a_command_prints_a_login(tmp_path: Path) -> None:
    printed = json.dumps({"username": "me", "password": "hidden", "expires_in": 60})
    login = program(tmp_path / "login", f"assert sys.argv[1:] == ['a b', '$c']; print({printed!r})")
    assert await command([login, "a b", "$c"])() == Issued(ME, 60.0)


async def test_a_program_need_not_read_what_it_is_told(programs: Path) -> None:
    program(programs / "docker-credential-mine", 'os.close(0); print(\'{"Username": "me", "Secret": "hidden"}\')')
    assert await given_by(credential_helper("mine", "r" * 200_000)) == ME


async def test_what_a_program_says_on_stderr_goes_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    login = program(tmp_path / "login", "sys.stderr.write('hidden'); sys.exit(1)")
    with pytest.raises(UpstreamUnauthorized) as caught:
        await command([login])()
    assert "hidden" not in caught.value.message + "".join(capfd.readouterr())


async def test_a_program_that_prints_without_end_is_ended(tmp_path: Path) -> None:
    login = program(tmp_path / "login", "while True: print('hidden' * 1000)")
    with pytest.raises(UpstreamUnauthorized, match="login prints more than 65536 bytes"):
        await command([login])()


async def test_a_program_that_does_not_end_is_ended_with_all_that_it_has_started(tmp_path: Path) -> None:
    numbers = tmp_path / "numbers"
    text = f"other = os.fork(); print(os.getpid(), file=open({str(numbers)!r}, 'a'), flush=True); time.sleep(600)"
    with pytest.raises(UpstreamUnauthorized, match=r"login does not end within 0\.5 s: run it by hand"):
        await command([program(tmp_path / "login", text)], patience=0.5)()
    found = [int(number) for number in numbers.read_text().split()]
    await wait_until(lambda: all(is_gone(number) for number in found), "they end")


async def test_a_program_ends_with_the_wait_for_it(tmp_path: Path) -> None:
    number = tmp_path / "number"
    text = f"print(os.getpid(), file=open({str(number)!r}, 'w'), flush=True); time.sleep(600)"
    asking = asyncio.ensure_future(command([program(tmp_path / "login", text)])())
    await wait_until(lambda: number.exists() and number.read_text().endswith("\n"), "the program runs")
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    assert is_gone(int(number.read_text()))


def is_gone(number: int) -> bool:
    """Whether a process runs no more; one that nobody has asked about its end has ended, too."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{number}/status").read_text()
    except OSError:
        return True


@pytest.mark.parametrize("name", ["/absent/login", "a\0b", ""])
async def test_a_command_that_cannot_be_run_is_told(name: str) -> None:
    with pytest.raises(UpstreamUnauthorized, match=r"cannot be run: .*; install it, or correct its name"):
        await command([name])()


# what is printed


def printed(**more: object) -> bytes:
    return json.dumps({"username": "me", "password": "hidden", **more}).encode()


@pytest.mark.parametrize(
    ("more", "life"),
    [
        ({}, None),
        ({"expires_in": 60}, 60.0),
        ({"expires_in": "60"}, 60.0),
        ({"expires_in": -5}, 0.0),
        ({"expires_at": "2030-01-31T12:00:30Z"}, 30.0),
        ({"expires_at": "2030-01-31T14:00:30+02:00"}, 30.0),
        ({"expires_at": "2030-01-31T11:59:59Z"}, 0.0),
        ({"expires_in": None, "expires_at": ""}, None),
    ],
)
def test_a_command_says_how_long_its_login_holds(more: dict[str, object], life: float | None) -> None:
    assert read_login("login", 0, printed(**more), NOW) == Issued(ME, life)


@settings(deadline=None)
@given(st.timedeltas(timedelta(0), timedelta(days=9999)), st.integers(-23 * 60, 23 * 60))
def test_whatever_the_zone_the_end_is_the_same(life: timedelta, minutes: int) -> None:
    until = (NOW + life).astimezone(timezone(timedelta(minutes=minutes))).isoformat()
    assert read_login("login", 0, printed(expires_at=until), NOW).life == pytest.approx(life.total_seconds())


@pytest.mark.parametrize(
    ("code", "text", "told"),
    [
        (3, b"{}", "login fails with exit code 3"),
        (0, b"", "login prints no JSON object"),
        (0, b"[]", "login prints no JSON object"),
        (0, b"[" * 60_000, "login prints no JSON object"),
        (0, b"{}", "login prints no password"),
        *[
            (0, printed(**{key: text}), "login prints no time")
            for key, text in [
                ("expires_in", "soon"),
                ("expires_in", [1]),
                ("expires_in", 10**400),
                ("expires_at", "soon"),
                ("expires_at", "2030-01-31T12:00:00"),
                ("expires_at", 5),
            ]
        ],
    ],
)
def test_what_makes_no_sense_is_named(code: int, text: bytes, told: str) -> None:
    with pytest.raises(UpstreamUnauthorized, match=told) as caught:
        read_login("login", code, text, NOW)
    assert "hidden" not in caught.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["username", "password", "expires_in", "expires_at"]), JSON) | JSON)
def test_whatever_is_printed_is_a_login_or_a_refusal(document: object) -> None:
    with contextlib.suppress(UpstreamUnauthorized):
        issued = read_login("login", 0, json.dumps(document).encode(), NOW)
        assert issued.life is None or issued.life >= 0.0
