"""Logins, certificates and proxies in the configuration: which go together, and what is told of them."""

from pathlib import Path

import pytest

from edgeproxy.config import load
from edgeproxy.sections import ConfigError
from tests.test_config import loaded, refusal


def test_a_password_and_a_file_for_it_are_one_too_many(tmp_path: Path) -> None:
    login = 'username = "a"\npassword = "hidden"\npassword_file = "b"\n'
    told = refusal(tmp_path, f'[[registry."a.test".upstream]]\nurl = "https://a"\n{login}')
    assert "password and password_file are both given: keep password_file" in told
    assert "hidden" not in told


def test_a_password_is_read_from_its_file_each_time_and_stripped(tmp_path: Path) -> None:
    login = f'username = "a"\npassword_file = "{tmp_path / "secret"}"\n'
    text = f'[[registry."a.test".upstream]]\nurl = "https://a"\n{login}'
    assert f"password_file cannot be read: [Errno 2] No such file or directory: '{tmp_path}" in refusal(tmp_path, text)
    (tmp_path / "secret").write_text("old\n")
    upstream = loaded(tmp_path, text).registry["a.test"].upstream[0]
    for password in ("older", "newer"):
        (tmp_path / "secret").write_text(f"{password}\n")
        assert upstream.secret({}) == password


@pytest.mark.parametrize("kind", ["a directory", "no text", "no path"])
def test_a_password_file_that_is_no_text_is_told(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    if kind == "no text":
        secret.write_bytes(b"\xff\xfe\xff")
    name = {"a directory": str(tmp_path), "no text": str(secret), "no path": "a\\u0000b"}[kind]
    login = f'username = "a"\npassword_file = "{name}"\n'
    assert "password_file" in refusal(tmp_path, f'[[registry."a.test".upstream]]\nurl = "https://a"\n{login}')


def test_a_password_is_shown_nowhere(tmp_path: Path) -> None:
    text = '[[registry."a.test".upstream]]\nurl = "https://a"\nusername = "me"\npassword = "hidden"\n'
    config = loaded(tmp_path, text)
    assert config.registry["a.test"].upstream[0].secret({}) == "hidden"
    assert "hidden" not in f"{config} {config!r} {config.effective()}"


@pytest.mark.parametrize(
    ("login", "told"),
    [
        (
            'password_file = "a"\ndocker_config = "b"\n',
            "password_file and docker_config are 2 logins: keep one of them",
        ),
        ('credential_helper = "a"\nlogin_command = ["b"]\n', "credential_helper and login_command are 2 logins"),
        ('username = "a"\nlogin_command = ["b"]\n', "login_command gives the name as well: remove username"),
        ('client_key = "a"\n', "client_key is given without client_cert: name the certificate, too"),
        ('credential_helpr = "a"\n', "unknown key 'registry.a.test.upstream.0.credential_helpr': did you mean"),
    ],
)
def test_logins_that_contradict_each_other_are_refused(tmp_path: Path, login: str, told: str) -> None:
    assert told in refusal(tmp_path, f'[[registry."a.test".upstream]]\nurl = "https://a"\n{login}')


def test_a_certificate_is_of_no_use_without_encryption(tmp_path: Path) -> None:
    told = refusal(tmp_path, '[[registry."a.test".upstream]]\nurl = "http://a"\nca_file = "a"\n')
    assert "ca_file is of no use: http://a is not encrypted; write https://, or remove the key" in told


@pytest.mark.parametrize(
    ("login", "told"),
    [
        ('password_file = "a"\n', "password_file is given without username: name the user, too"),
        ('username = "a"\n', "username is given without its password: add password_file"),
        ('credential_helper = "docker-credential-a"\n', "'docker-credential-a': leave out 'docker-credential-'"),
        ('docker_config = "/absent"\n', "upstream.0: docker_config cannot be read: [Errno 2]"),
        ('username = "a"\npassword_file = "/dev/null"\n', "upstream.0: password_file is empty: /dev/null"),
        ('ca_file = "/absent"\n', "upstream.0: ca_file: /absent cannot be used: No such file or directory; name a PEM"),
        ('client_cert = "/dev/null"\n', "upstream.0: client_cert: /dev/null cannot be used: "),
    ],
)
def test_a_login_that_cannot_work_is_refused(tmp_path: Path, login: str, told: str) -> None:
    found = refusal(tmp_path, f'[[registry."a.test".upstream]]\nurl = "https://a"\n{login}')
    assert told in found
    assert found.startswith(f"{tmp_path / 'edgeproxy.toml'}:")


def test_a_login_within_a_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    told = refusal(tmp_path, '[[registry."a.test".upstream]]\nurl = "https://me:hidden@a.test"\n')
    assert ":2: registry.a.test.upstream.0.url: what holds a login is not the URL of a registry" in told
    assert "hidden" not in told


def test_a_proxy_that_is_none_is_told_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="HTTPS_PROXY names no proxy that speaks HTTP") as caught:
        load(None, {"HTTPS_PROXY": "socks5://me:hidden@proxy.test"})
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("name", ["THE_PASSWORD", "EDGEPROXY_PASSWORD"])
def test_a_password_may_stand_in_the_environment(tmp_path: Path, name: str) -> None:
    text = f'[[registry."a.test".upstream]]\nurl = "https://a"\nusername = "me"\npassword_env = "{name}"\n'
    assert f"password_env names {name}, which is not in the environment" in refusal(tmp_path, text)
    environment = {name: "hidden"}
    config = loaded(tmp_path, text, environment)
    assert config.registry["a.test"].upstream[0].secret(environment) == "hidden"
    assert "hidden" not in str(config.effective())
