"""Whatever a machine's files say: written twice is written once, and undone it is as if it had never been."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.clients.files import Tree
from edgeproxy.clients.mirror import BEGIN, END, CannotEdit, Mirror
from edgeproxy.clients.settings import CLIENTS
from tests.clients.test_files import everything

FILES = {
    "containerd": ("/etc/containerd/config.toml", "/etc/containerd/certs.d/_default/hosts.toml"),
    "docker": ("/etc/docker/daemon.json",),
    "podman": ("/etc/containers/registries.conf", "/etc/containers/registries.conf.d/50-edgeproxy.conf"),
    "crio": ("/etc/containers/registries.conf.d/50-edgeproxy.conf",),
    "k3s": ("/etc/rancher/k3s/registries.yaml",),
}
TOML = [
    "version = 2", "version = 3", 'server = "https://x"', '[host."http://a"]', '[host."https://edge"]', "[header]", "",
    "  ca = 'x'", "[plugins]", '[plugins."io.containerd.grpc.v1.cri".registry]', 'config_path = "/etc/c"', "# é",
]  # fmt: skip
YAML = ["auth: x", "  # x", "mirrors:", "configs:", "- a", "{}", "---", "a: |", "  text"]
JSON = ['{"a":1}', "{", "}", '"debug": true', '{"registry-mirrors": ["https://edge/", "http://b"]}', "\t", "[]"]
LINES = st.sampled_from([*TOML, *YAML, *JSON, BEGIN, END]) | st.text(max_size=8)
TEXTS = st.none() | st.lists(LINES, max_size=6).map("\n".join) | st.sampled_from(JSON)
MIRRORS = st.sampled_from(
    [Mirror("http://edge:5000"), Mirror("https://edge", "PEM\n"), Mirror("https://edge", "", ("a.b",))]
)


@pytest.mark.parametrize("client", CLIENTS)
@given(st.lists(TEXTS, min_size=2, max_size=2), st.lists(MIRRORS, min_size=1, max_size=3))
def test_undone_it_is_as_if_it_had_never_been(
    client: str, tmp_path_factory: pytest.TempPathFactory, texts: list[str | None], mirrors: list[Mirror]
) -> None:
    root = tmp_path_factory.mktemp("root")
    for path, text in zip(FILES[client], texts, strict=False):
        if text is not None:
            file = root / path[1:]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode(errors="replace"))
            file.chmod(0o640)
    before, tree = everything(root), Tree(root)
    for mirror in mirrors:
        try:
            tree.write(client, CLIENTS[client](mirror, tree.look))
        except CannotEdit:
            continue
        assert tree.write(client, CLIENTS[client](mirror, tree.look)) == []
    tree.undo(client)
    assert everything(root) == before
