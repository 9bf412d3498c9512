"""Docker's config.json: where it says that a login is."""

import asyncio
import base64
import contextlib
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import UpstreamUnauthorized
from edgeproxy.remote.docker_config import docker_config
from edgeproxy.remote.logins import Source
from tests.remote.conftest import HELPER, program

ME = Credentials("me", "hidden")
AUTH = base64.b64encode(b"me:hidden").decode()


async def given_by(source: Source) -> Credentials | None:
    return (await source()).credentials


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
        ("docker.io", {"https://index.docker.io/v1/": {"auth": AUTH}}, ME),
        ("registry.test", {"https://registry.test/v2/": {"auth": AUTH}}, ME),
        ("registry.test", {"registry.test/team": {"auth": AUTH}}, None),
        ("registry.test:5000", {"registry.test": {"auth": AUTH}}, None),
        ("registry.test", {"registry.test": {}}, None),
        ("registry.test", {"other.test": {"auth": AUTH}}, None),
        ("registry.test", {}, None),
    ],
)
async def test_docker_s_logins_are_found(
    tmp_path: Path, host: str, auths: dict[str, object], expected: Credentials | None
) -> None:
    assert await given_by(docker_config(written(tmp_path, {"auths": auths}), host)) == expected


async def test_docker_s_helpers_are_asked(tmp_path: Path, programs: Path) -> None:
    for name in ("one", "store"):
        program(programs / f"docker-credential-{name}", HELPER.replace("of ", f"{name} "))
    document = {"credsStore": "store", "credHelpers": {"a.test": "one"}, "auths": {"c.test": {"auth": AUTH}}}
    file = written(tmp_path, document)
    found = [await given_by(docker_config(file, host)) for host in ("a.test", "b.test", "c.test")]
    assert [each.password for each in found if each] == ["one a.test", "store b.test", "store c.test"]


@pytest.mark.parametrize("host", ["registry-1.docker.io", "docker.io", "index.docker.io"])
@pytest.mark.parametrize(
    "document", [{"credsStore": "one"}, {"credHelpers": {"docker.io": "one"}}], ids=["store", "helper"]
)
async def test_helpers_know_docker_hub_by_its_old_address(
    tmp_path: Path, programs: Path, host: str, document: dict[str, object]
) -> None:
    program(programs / "docker-credential-one", HELPER)
    assert await given_by(docker_config(written(tmp_path, document), host)) == Credentials(
        "me", "of https://index.docker.io/v1/"
    )


async def test_where_the_store_holds_nothing_the_file_is_asked_and_then_nobody(tmp_path: Path, programs: Path) -> None:
    """Most registries are asked without a login: a store that has none for one of them is no failure."""
    program(programs / "docker-credential-store", 'print("credentials not found in native keychain"); sys.exit(1)')
    file = written(tmp_path, {"credsStore": "store", "auths": {"a.test": {"auth": AUTH}, "b.test": {}}})
    assert [await given_by(docker_config(file, host)) for host in ("a.test", "b.test", "c.test")] == [ME, None, None]


async def test_a_store_that_fails_is_named(tmp_path: Path, programs: Path) -> None:
    program(programs / "docker-credential-store", "sys.exit(1)")
    with pytest.raises(UpstreamUnauthorized, match="docker-credential-store fails with exit code 1"):
        await docker_config(written(tmp_path, {"credsStore": "store"}), "a.test")()


@pytest.mark.parametrize("text", ["", "[]", "hidden", '{"auths": ["a.test"]}', '{"auths": {"a.test": {"auth": "%"}}}'])
async def test_what_is_no_docker_configuration_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(UpstreamUnauthorized, match=r"docker_config: .*config.json cannot be used") as caught:
        await docker_config(file, "a.test")()
    assert "hidden" not in caught.value.message


KEYS = st.sampled_from(["auths", "a.test", "https://a.test/v1/", "auth", "identitytoken", "username", "password"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.just(AUTH),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, JSON) | JSON)
def test_whatever_is_written_is_a_login_or_none_or_a_refusal(document: object) -> None:
    with tempfile.TemporaryDirectory() as directory, contextlib.suppress(UpstreamUnauthorized):
        found = asyncio.run(given_by(docker_config(written(Path(directory), document), "a.test")))
        assert found is None or isinstance(found, Credentials)
