"""Registries that want a login: a token server, htpasswd, and TLS by a private authority; and logins that end."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import aiohttp

from tests.e2e.guarded import SECRET, behind_tokens, guarded
from tests.parts.authorities import Certificates
from tests.parts.clients import client
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery, Pusher, digest_of
from tests.parts.processes import need, wait_until
from tests.parts.registry import DockerRegistry
from tests.parts.relay import Fault
from tests.parts.tokens import TokenServer
from tests.parts.tunnels import Tunnels

HELPER = """\
import json, sys
assert sys.stdin.read().startswith("127.0.0.1:")
print(json.dumps({{"ServerURL": "", "Username": "<token>", "Secret": {secret!r}}}))
"""
OPENED = '[[access]]\nallow = "puller"\n'
"""What needs our login is for everybody on site."""
LOGIN = 'username = "me"\npassword_file = "{file}"\n'


def written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


async def pulled(tmp_path: Path, proxy: Edgeproxy, gallery: Gallery) -> None:
    async with client("skopeo", tmp_path / "client", proxy.url, "registry.test") as skopeo:
        for name, image in (("team/index:1.0", gallery.index), ("team/docker:1.0", gallery.docker)):
            await skopeo.pull("registry.test", name)
            assert await skopeo.digest("registry.test", name) == image.digest
    assert SECRET not in proxy.log.read_text()


async def test_a_token_server_is_asked_with_the_login(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, tokens: TokenServer
) -> None:
    login = LOGIN.format(file=written(tmp_path / "secret", SECRET))
    async with (
        behind_tokens(tmp_path, registry, tokens) as relay,
        Edgeproxy(tmp_path / "edge", {"registry.test": relay.url}, login=login, more=OPENED) as proxy,
    ):
        await pulled(tmp_path, proxy, gallery)
    assert tokens.issued


def by_htpasswd(tmp_path: Path) -> str:
    """What makes a registry want the password."""
    need("htpasswd")
    users = subprocess.run(["htpasswd", "-nbB", "me", SECRET], check=True, capture_output=True, text=True).stdout
    return f'auth: {{htpasswd: {{realm: here, path: "{written(tmp_path / "users", users)}"}}}}\n'


async def test_a_password_file_by_htpasswd(tmp_path: Path, registry: DockerRegistry, gallery: Gallery) -> None:
    more, login = by_htpasswd(tmp_path), LOGIN.format(file=written(tmp_path / "secret", SECRET))
    async with (
        guarded(tmp_path, registry, more) as upstream,
        Edgeproxy(tmp_path / "edge", {"registry.test": upstream.url}, login=login, more=OPENED) as proxy,
    ):
        await pulled(tmp_path, proxy, gallery)


async def test_tls_by_a_private_authority(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, signed: Certificates
) -> None:
    upstream = DockerRegistry(tmp_path / "tls", registry.storage, certificate=signed.certificate, key=signed.key)
    async with upstream:
        trusting = f'ca_file = "{signed.authority}"\n'
        async with Edgeproxy(tmp_path / "edge", {"registry.test": upstream.url}, login=trusting) as proxy:
            await pulled(tmp_path, proxy, gallery)


async def test_an_identity_token_of_a_credential_helper(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, tokens: TokenServer
) -> None:
    helper = written(tmp_path / "docker-credential-mine", f"#!{sys.executable}\n{HELPER.format(secret=SECRET)}")
    helper.chmod(0o755)
    config = written(tmp_path / "config.json", json.dumps({"auths": {}, "credsStore": "mine"}))
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    async with (
        behind_tokens(tmp_path, registry, tokens) as relay,
        Edgeproxy(
            tmp_path / "edge",
            {"registry.test": relay.url},
            login=f'docker_config = "{config}"\n',
            more=OPENED,
            env=path,
        ) as proxy,
    ):
        await pulled(tmp_path, proxy, gallery)
    assert tokens.issued


async def test_tls_and_a_password_through_a_proxy_with_a_login_of_its_own(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, signed: Certificates
) -> None:
    more, login = by_htpasswd(tmp_path), LOGIN.format(file=written(tmp_path / "secret", SECRET))
    upstream = DockerRegistry(
        tmp_path / "tls", registry.storage, certificate=signed.certificate, key=signed.key, more=more
    )
    async with upstream, Tunnels("we", SECRET) as tunnels:
        env = {"HTTPS_PROXY": f"http://we:{quote(SECRET)}@127.0.0.1:{tunnels.port}", "NO_PROXY": "", "no_proxy": ""}
        trusting = f'{login}ca_file = "{signed.authority}"\n'
        async with Edgeproxy(
            tmp_path / "edge", {"registry.test": upstream.url}, login=trusting, more=OPENED, env=env
        ) as proxy:
            await pulled(tmp_path, proxy, gallery)
            assert quote(SECRET) not in proxy.log.read_text()
    assert set(tunnels.asked) == {f"CONNECT 127.0.0.1:{upstream.port}"}


async def test_a_token_that_ends_in_the_middle_of_a_pull_is_exchanged(
    tmp_path: Path, registry: DockerRegistry, tokens: TokenServer
) -> None:
    """Upstream takes a token for a minute after its end: this one has ended nearly a minute ago, and seems fresh."""
    layers = [bytes([number]) * 100_000 for number in range(2)]
    tokens.life, tokens.told = 3 - 60, 300
    login = LOGIN.format(file=written(tmp_path / "secret", SECRET))
    async with aiohttp.ClientSession() as session:
        for layer in layers:
            await Pusher(session, registry.url, "team/app").blob(layer)
        async with (
            behind_tokens(tmp_path, registry, tokens) as relay,
            Edgeproxy(tmp_path / "edge", {"registry.test": relay.url}, login=login, more=OPENED) as proxy,
        ):

            async def has_ended() -> bool:
                url = f"{relay.target}/v2/team/app/blobs/{digest_of(layers[0])}"
                async with session.head(url, headers={"Authorization": f"Bearer {tokens.last}"}) as answer:
                    return answer.status == 401

            async def pulled(layer: bytes) -> bool:
                async with session.get(f"{proxy.url}/v2/team/app/blobs/{digest_of(layer)}") as answer:
                    return digest_of(await answer.read()) == digest_of(layer)

            assert await pulled(layers[0])
            issued = tokens.issued
            await wait_until(has_ended, "upstream refuses the token")
            assert await pulled(layers[1])
            assert tokens.issued > issued


async def test_what_ends_in_the_middle_of_a_pull_is_renewed(
    tmp_path: Path, registry: DockerRegistry, tokens: TokenServer
) -> None:
    """The password changes, and upstream says 403 to the token of before: a command knows the new one."""
    layers = [bytes([number]) * 100_000 for number in range(3)]
    secret, command = written(tmp_path / "secret", SECRET), tmp_path / "login"
    said = f"print(json.dumps({{'username': 'me', 'password': open({str(secret)!r}).read(), 'expires_in': 3600}}))"
    command.write_text(f"#!{sys.executable}\nimport json\n{said}\n")
    command.chmod(0o755)
    login = f"login_command = {json.dumps([str(command)])}\n"
    async with aiohttp.ClientSession() as session:
        for layer in layers:
            await Pusher(session, registry.url, "team/app").blob(layer)
        async with (
            behind_tokens(tmp_path, registry, tokens) as relay,
            Edgeproxy(tmp_path / "edge", {"registry.test": relay.url}, login=login, more=OPENED) as proxy,
        ):
            for number, layer in enumerate(layers):
                async with session.get(f"{proxy.url}/v2/team/app/blobs/{digest_of(layer)}") as answer:
                    assert digest_of(await answer.read()) == digest_of(layer)
                tokens.password = f"{SECRET} {number}"
                secret.write_text(tokens.password)
                relay.faults = [Fault(path="/blobs/", status=403, times=1)] if number == 0 else []
            assert SECRET not in proxy.log.read_text()
    assert tokens.issued == 2
