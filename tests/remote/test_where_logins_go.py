"""The pure judgements: what a challenge asks, where a login may go, where a registry may lead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import Unavailable
from edgeproxy.remote.targets import check_target, is_inside, may_send
from edgeproxy.remote.tokens import parse_challenge


@pytest.mark.parametrize(
    ("header", "scheme", "parameters"),
    [
        (
            'Bearer realm="https://auth.test/token",service="registry.test",scope="repository:a/b:pull"',
            "bearer",
            {"realm": "https://auth.test/token", "service": "registry.test", "scope": "repository:a/b:pull"},
        ),
        ('bearer  realm = "https://a" , service=b', "bearer", {"realm": "https://a", "service": "b"}),
        ('BEARER Realm="https://a?x=1,2",SERVICE="b c"', "bearer", {"realm": "https://a?x=1,2", "service": "b c"}),
        ('Bearer realm="https://a",scope="repository:a:pull,push"', "bearer", None),
        ('Basic realm="Registry Realm"', "basic", {"realm": "Registry Realm"}),
        ("Basic", "basic", {}),
        ("  Negotiate ", "negotiate", {}),
        ("", "", {}),
    ],
)
def test_a_challenge_is_read_as_its_scheme_and_parameters(
    header: str, scheme: str, parameters: dict[str, str] | None
) -> None:
    found = parse_challenge(header)
    assert found[0] == scheme
    if parameters is None:
        assert found[1]["scope"] == "repository:a:pull,push"
    else:
        assert found[1] == parameters


def test_what_is_escaped_in_a_quoted_word_is_read_as_it_is_meant() -> None:
    assert parse_challenge(r'Bearer realm="https://a",service="a \"b\" \\ c"')[1]["service"] == r'a "b" \ c'


@given(st.text())
def test_any_challenge_can_be_read(header: str) -> None:
    scheme, parameters = parse_challenge(header)
    assert scheme == scheme.lower()
    assert all(key == key.lower() for key in parameters)


@pytest.mark.parametrize(
    ("ours", "to", "may"),
    [
        ("https://registry-1.docker.io", "https://auth.docker.io/token", True),
        ("https://ghcr.io", "https://ghcr.io/token", True),
        ("https://registry.test:8443", "https://auth.registry.test", True),
        ("http://registry.test:5000", "http://registry.test:5000/token", True),
        ("http://registry.test:5000", "https://registry.test/token", True),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/token", True),
        ("https://registry.test", "http://auth.registry.test", False),
        ("https://registry.test", "http://registry.test/token", False),
        ("http://registry.test:5000", "http://registry.test:5001/token", False),
        ("https://registry.test", "https://evil.example", False),
        ("https://docker.io", "https://evildocker.io", False),
        ("https://docker.io", "https://docker.io.evil.example", False),
        ("https://127.0.0.1", "https://10.0.0.1", False),
        ("https://10.1.0.1", "https://10.2.0.1", False),
        ("https://registry", "https://auth", False),
        ("https://registry:5000", "https://registry:5001", False),
        ("https://io", "https://evil.io", False),
    ],
)
def test_a_login_goes_encrypted_and_to_its_own_domain_only(ours: str, to: str, may: bool) -> None:
    assert may_send(URL(ours), URL(to)) is may


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "sub.localhost",
        "127.0.0.1",
        "127.8.8.8",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[fd00::1]",
        "[fe80::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "127.0.0.1.",
    ],
)
def test_addresses_of_this_machine_and_its_network_are_inside(host: str) -> None:
    assert is_inside(URL(f"http://{host}:80/"))


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "[2606:4700::1]", "docker.io", "localhost.test", "10.example", "172.32.0.1"]
)
def test_all_others_are_not(host: str) -> None:
    assert not is_inside(URL(f"http://{host}:80/"))


@pytest.mark.parametrize(
    ("origin", "target"),
    [
        ("https://registry.test", "https://cdn.example/blob"),
        ("http://registry.test", "http://cdn.example/blob"),
        ("http://registry.test", "https://cdn.example/blob"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:9000/blob"),
        ("http://localhost:5000", "http://10.0.0.1/blob"),
        ("http://10.0.0.1", "http://cdn.example/blob"),
    ],
)
def test_a_registry_may_lead(origin: str, target: str) -> None:
    check_target(URL(origin), URL(target), "redirect")


@pytest.mark.parametrize(
    ("origin", "target", "why"),
    [
        ("https://registry.test", "http://cdn.example/blob", "not encrypted"),
        ("https://127.0.0.1", "http://127.0.0.1/blob", "not encrypted"),
        ("https://registry.test", "https://127.0.0.1/blob", "inside this network"),
        ("http://registry.test", "http://169.254.169.254/latest/meta-data", "inside this network"),
        ("http://registry.test", "http://localhost/blob", "inside this network"),
        ("http://registry.test", "http://[::1]/blob", "inside this network"),
        ("http://registry.test", "ftp://cdn.example/blob", "refused"),
        ("http://registry.test", "file:///etc/passwd", "refused"),
        ("http://registry.test", "gopher:nothing", "refused"),
        ("http://registry.test", "/relative", "refused"),
        ("http://registry.test", "", "refused"),
    ],
)
def test_a_registry_may_not_lead(origin: str, target: str, why: str) -> None:
    with pytest.raises(Unavailable, match=why) as caught:
        check_target(URL(origin), URL(target), "token realm")
    assert "token realm" in caught.value.message


def test_credentials_show_no_password() -> None:
    credentials = Credentials("me", "hidden")
    assert credentials.basic() == "Basic bWU6aGlkZGVu"
    assert "hidden" not in f"{credentials} {credentials!r}"
