"""edgeproxy check: the configuration as it takes effect, or what is wrong with it."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeproxy.cli.main import main
from tests.cli.running import Ended, command

TEXT = """\
listen = "127.0.0.1:5500"
[cache]
budget = "1GB"
[[registry."a.test".upstream]]
url = "https://a.test/"
username = "me"
password = "hidden-in-the-file"
"""


@pytest.fixture(autouse=True)
def _no_variables_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EDGEPROXY_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "edgeproxy.toml"
    file.write_text(TEXT)
    return file


def run(*words: str | Path, **env: str) -> Ended:
    """The command within this process; what it throws is a failure."""
    result = CliRunner().invoke(main, [str(word) for word in words], env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


async def test_it_prints_what_takes_effect_as_json(file: Path) -> None:
    ended = await command("check", "-c", file, env={"EDGEPROXY_DATA": "/other"})
    assert (ended.code, ended.words) == (0, "")
    found = json.loads(ended.out)
    assert found["listen"] == ["127.0.0.1", 5500]
    assert found["cache"] == {"budget": 10**9, "reserve": 0.05, "memory": 256 * 10**6}
    assert found["data"] == "/other"
    assert found["registry"]["a.test"]["upstream"][0]["url"] == "https://a.test"
    assert found["registry"]["ghcr.io"]["upstream"][0]["url"] == "https://ghcr.io"


def test_secrets_are_blanked(file: Path) -> None:
    ended = run("check", "-c", file)
    (upstream,) = json.loads(ended.out)["registry"]["a.test"]["upstream"]
    assert (upstream["username"], upstream["password"]) == ("me", "**********")
    assert "hidden-in-the-file" not in ended.out + ended.words


def test_the_environment_may_name_the_file(file: Path) -> None:
    ended = run("check", EDGEPROXY_CONFIG=str(file))
    assert json.loads(ended.out)["listen"] == ["127.0.0.1", 5500]


def test_without_a_file_every_key_has_its_default() -> None:
    ended = run("check")
    assert (ended.code, json.loads(ended.out)["admin"]) == (0, ["127.0.0.1", 5001])


@pytest.mark.parametrize("verb", ["check", "serve"])
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("[cache]\nbugdet = 1\n", ":2: unknown key 'cache.bugdet': did you mean 'budget'?"),
        ("[cache\n", ": not TOML: "),
        ('log_level = "loud"\n', ":1: log_level: 'loud' is not a level"),
    ],
)
def test_a_wrong_file_ends_with_2_and_words(file: Path, verb: str, wrong: str, words: str) -> None:
    file.write_text(wrong)
    ended = run(verb, "-c", file)
    assert (ended.code, ended.out) == (2, "")
    assert f"{file}{words}" in ended.words


@pytest.mark.parametrize("verb", ["check", "serve"])
def test_an_unknown_variable_ends_with_2_and_words(verb: str) -> None:
    ended = run(verb, EDGEPROXY_DTAA="/a")
    assert ended.code == 2
    assert "unknown variable EDGEPROXY_DTAA: did you mean 'EDGEPROXY_DATA'?" in ended.words


def test_a_file_that_is_not_there_ends_with_2(tmp_path: Path) -> None:
    ended = run("check", "-c", tmp_path / "absent")
    assert ended.code == 2
    assert f"{tmp_path / 'absent'}: cannot be read" in ended.words


def test_a_size_without_a_prefix_is_told_not_thrown(file: Path) -> None:
    file.write_text('[cache]\nmemory = "5iB"\n')
    ended = run("check", "-c", file)
    assert ended.code == 2


def test_a_password_file_that_cannot_be_read_is_told(file: Path) -> None:
    file.write_text(TEXT.replace('password = "hidden-in-the-file"', 'password_file = "/absent/secret"'))
    ended = run("check", "-c", file)
    assert (ended.code, ended.out) == (2, "")
    assert "/absent/secret" in ended.words


@pytest.mark.parametrize("verb", ["check", "serve"])
def test_a_certificate_that_cannot_be_read_ends_with_2(file: Path, verb: str) -> None:
    file.write_text(f'{TEXT}ca_file = "/absent/authority.pem"\n')
    ended = run(verb, "-c", file)
    assert (ended.code, ended.out) == (2, "")
    assert "registry.a.test.upstream.0: ca_file: /absent/authority.pem cannot be used" in ended.words
