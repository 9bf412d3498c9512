"""What deploy/ says is checked by those who read it."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeproxy.config import load
from edgeproxy.metrics import Metrics, Traffic
from tests.parts.processes import need

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = DEPLOY / "systemd"
METRICS = (DEPLOY.parent / "docs" / "metrics.md").read_text()
WORST = 2.0
"""Of systemd-analyze's scale of exposure, which ends at 10."""


def said(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that is here."""
    for unit in UNITS.iterdir():
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/edgeproxy/bin/edgeproxy", "/bin/true"))
    return tmp_path


def test_the_units_are_right(units: Path) -> None:
    need("systemd-analyze")
    told = said("systemd-analyze", "verify", "--man=no", units / "edgeproxy.service", units / "edgeproxy.socket")
    assert [line for line in told.splitlines() if "edgeproxy" in line] == []


def test_the_service_may_do_little(units: Path) -> None:
    need("systemd-analyze")
    told = said("systemd-analyze", "security", "--offline=yes", units / "edgeproxy.service")
    found = re.search(r"exposure level for \S+: ([0-9.]+)", told)
    assert found is not None, told
    assert float(found[1]) <= WORST


def test_the_scripts_are_sound() -> None:
    need("shellcheck")
    said("shellcheck", DEPLOY / "install.sh")


def test_wrong_use_of_the_script_is_told() -> None:
    done = subprocess.run([DEPLOY / "install.sh", "--purge"], capture_output=True, text=True, check=False)
    assert (done.returncode, "usage" in done.stderr) == (2, True)


def test_haproxy_takes_its_configuration(tmp_path: Path) -> None:
    need("haproxy", "openssl")
    pem = self_signed(tmp_path)
    config = tmp_path / "haproxy.cfg"
    config.write_text((DEPLOY / "proxies/haproxy.cfg").read_text().replace("/etc/edgeproxy/tls/edge.pem", str(pem)))
    said("haproxy", "-c", "-f", config)


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    need("nginx", "openssl")
    pem = self_signed(tmp_path)
    text = re.sub(r"/etc/edgeproxy/tls/edge\.(crt|key)", str(pem), (DEPLOY / "proxies/nginx.conf").read_text())
    config = tmp_path / "nginx.conf"
    config.write_text(f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{text}\n}}\n")
    said("nginx", "-t", "-c", config)


def self_signed(directory: Path) -> Path:
    """A certificate with its key."""
    pem = directory / "edge.pem"
    said(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ed25519",
        "-nodes",
        "-subj",
        "/CN=edge",
        "-keyout",
        pem,
        "-out",
        directory / "crt",
    )
    pem.write_text(pem.read_text() + (directory / "crt").read_text())
    return pem


def test_the_alerts_are_right_and_ring() -> None:
    need("promtool")
    said("promtool", "check", "rules", DEPLOY / "monitoring/rules.yaml")
    said("promtool", "test", "rules", DEPLOY / "monitoring/rules.test.yaml")


def expressions() -> Iterator[str]:
    for rule in yaml.safe_load((DEPLOY / "monitoring/rules.yaml").read_text())["groups"][0]["rules"]:
        yield rule["expr"]
    board = json.loads((DEPLOY / "monitoring/grafana.json").read_text())
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (each["query"] for each in board["templating"]["list"])


def test_rules_and_board_ask_for_metrics_that_exist() -> None:
    known = set(re.findall(r"`(edgeproxy_[a-z_]+)`", METRICS))
    asked = {name for text in expressions() for name in re.findall(r"\bedgeproxy_[a-z0-9_]+", text)}
    assert asked
    assert {re.sub(r"_bucket$", "", name) for name in asked} <= known


def test_the_metrics_that_are_documented_are_those_that_are_counted() -> None:
    counted = {family.name for family in Metrics(Traffic(), []).collect()}
    documented = {name.removesuffix("_total") for name in re.findall(r"`(edgeproxy_[a-z_]+)`", METRICS)}
    assert counted <= documented


def test_every_manifest_is_one_and_asks_for_few_rights() -> None:
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes/edgeproxy.yaml").read_text()))
    assert all({"apiVersion", "kind", "metadata"} <= set(each) for each in documents)
    kinds = {each["kind"]: each for each in documents}
    pod = kinds["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert {each["name"] for each in pod["volumes"]} == {each["name"] for each in container["volumeMounts"]}
    ports = {each["name"] for each in container["ports"]}
    for document in documents:
        if document["kind"] == "Service":
            assert {each["targetPort"] for each in document["spec"]["ports"]} <= ports
            assert (
                document["spec"]["selector"].items()
                <= kinds["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
            )


@pytest.mark.parametrize("place", ["kubernetes/edgeproxy.yaml", "docker/compose.yaml", "edgeproxy.toml"])
def test_the_configurations_are_taken(place: str, tmp_path: Path) -> None:
    file = tmp_path / "edgeproxy.toml"
    file.write_text(_configuration(place))
    tomllib.loads(file.read_text())
    assert load(file, {}).cache.budget is not None or place == "edgeproxy.toml"


def _configuration(place: str) -> str:
    text = (DEPLOY / place).read_text()
    if place.endswith(".toml"):
        return text
    documents: list[Any] = list(yaml.safe_load_all(text))
    if place.startswith("docker"):
        return str(documents[0]["configs"]["edgeproxy"]["content"])
    return str(next(each for each in documents if each["kind"] == "ConfigMap")["data"]["edgeproxy.toml"])


def test_compose_gives_few_rights() -> None:
    service = yaml.safe_load((DEPLOY / "docker/compose.yaml").read_text())["services"]["edgeproxy"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    root = DEPLOY.parent
    assert (root / "deploy/docker" / service["build"]["context"]).resolve() == root
    assert (root / service["build"]["dockerfile"]).is_file()
