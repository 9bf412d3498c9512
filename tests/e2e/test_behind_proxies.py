"""nginx and HAProxy in front for TLS, with the configuration that deploy/ has: a real client pulls and pushes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.parts.authorities import Certificates
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery
from tests.parts.processes import Process, free_port, need, responds, run
from tests.parts.registry import DockerRegistry

PROXIES = Path(__file__).parents[2] / "deploy/proxies"
PUSHING = '[[access]]\nallow = "pusher"\nto = ["*"]\n'


def nginx(directory: Path, text: str, signed: Certificates) -> list[str | Path]:
    text = text.replace("/etc/edgeproxy/tls/edge.crt", str(signed.certificate))
    text = text.replace("/etc/edgeproxy/tls/edge.key", str(signed.key))
    around = f"daemon off;\npid {directory}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n"
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        around += f"{kind}_temp_path {directory}/{kind};\n"
    (directory / "nginx.conf").write_text(f"{around}{text}\n}}\n")
    return ["nginx", "-c", directory / "nginx.conf"]


def haproxy(directory: Path, text: str, signed: Certificates) -> list[str | Path]:
    (directory / "edge.pem").write_text(signed.certificate.read_text() + signed.key.read_text())
    text = text.replace("maxconn 10000", "maxconn 100")  # as many as the descriptors of whoever runs the tests allow
    (directory / "haproxy.cfg").write_text(text.replace("/etc/edgeproxy/tls/edge.pem", str(directory / "edge.pem")))
    return ["haproxy", "-db", "-f", directory / "haproxy.cfg"]


@pytest.mark.parametrize(("name", "file"), [("nginx", "nginx.conf"), ("haproxy", "haproxy.cfg")])
async def test_a_client_pulls_and_pushes(
    name: str, file: str, tmp_path: Path, registry: DockerRegistry, gallery: Gallery, signed: Certificates
) -> None:
    need(name, "skopeo")
    makers: dict[str, Callable[[Path, str, Certificates], list[str | Path]]] = {"nginx": nginx, "haproxy": haproxy}
    port = free_port()
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "ca.crt").write_bytes(signed.authority.read_bytes())
    async with Edgeproxy(tmp_path / "edge", {"registry.test": registry.url}, more=PUSHING) as proxy:
        text = (PROXIES / file).read_text().replace("5443", str(port)).replace(":5000", f":{proxy.port}")
        in_front = Process(makers[name](tmp_path, text, signed), tmp_path / "log")
        await in_front.start(lambda: responds(f"https://127.0.0.1:{port}/v2/"))
        try:
            edge = f"docker://127.0.0.1:{port}/registry.test"
            pull = ("--src-cert-dir", trusted, f"{edge}/team/docker:1.0", f"oci:{tmp_path}/image:1.0")
            await run("skopeo", "copy", "--quiet", *pull)
            push = ("--dest-cert-dir", trusted, f"oci:{tmp_path}/image:1.0", f"{edge}/team/pushed:1.0")
            await run("skopeo", "copy", "--quiet", *push)
            said = await run("skopeo", "inspect", "--raw", "--cert-dir", trusted, f"{edge}/team/pushed:1.0")
            assert '"layers"' in said
        finally:
            await in_front.stop()
