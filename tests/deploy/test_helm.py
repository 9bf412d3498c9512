"""The chart, as Helm itself renders it: for Kubernetes' schemas, beside the plain manifest, and for edgeproxy."""

import io
import re
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from tests.cli.running import command
from tests.parts.kubernetes import (
    CHART,
    DEPLOY,
    Document,
    configuration,
    documents,
    environment,
    lint,
    pod,
    rendered,
    rights,
    the,
    wrong,
)

PLAIN = documents((DEPLOY / "kubernetes/edgeproxy.yaml").read_text())
K3S = the("HelmChart", documents((DEPLOY / "k3s/edgeproxy.yaml").read_text()))["spec"]
ARGOCD = the("Application", documents((DEPLOY / "argocd/edgeproxy.yaml").read_text()))["spec"]
OWN: Document = {
    "image": {"repository": "registry.example.com:5000/edge/edgeproxy", "tag": "1.2", "pullSecrets": ["pull.secret"]},
    "config": 'log_level = "debug"\n[cache]\nbudget = "9GB"\n[registry."registry.example.com"]\n'
    '[[registry."registry.example.com".upstream]]\nurl = "https://registry.example.com"\n'
    'username = "edge"\npassword_env = "UPSTREAM_PASSWORD"\n\n',
    "env": [
        {"name": "UPSTREAM_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "upstream", "key": "password"}}},
        {"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"},
    ],
    "secrets": ["tls", "upstream.ca"],
    "storage": {"size": "10Gi", "class": "fast"},
    "service": {"type": "LoadBalancer", "nodePort": None},
    "networkPolicy": {"adminFrom": []},
    "serviceMonitor": {"enabled": True, "interval": "1m", "labels": {"release": "prometheus"}},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "podAnnotations": {"example.com/team": "edge"},
    "priorityClassName": "system-cluster-critical",
}
VALUES: dict[str, Document] = {
    "default": {},
    "daemonset": {"kind": "DaemonSet"},
    "monitors": {"serviceMonitor": {"enabled": True}},
    "own": OWN,
    "own daemonset": {**OWN, "kind": "DaemonSet", "storage": {"hostPath": "/srv/edge"}, "service": {"hostPort": None}},
    "own claim": {"storage": {"existingClaim": "mine"}, "networkPolicy": {"enabled": False}},
    "k3s": yaml.safe_load(K3S["valuesContent"]),
    "argocd": ARGOCD["source"]["helm"]["valuesObject"],
}
EACH = pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())


def workload(among: list[Document]) -> Document:
    return next(each for each in among if each["kind"] in ("Deployment", "DaemonSet"))


@EACH
def test_helm_finds_nothing_wrong(values: Document) -> None:
    assert lint(values) == []


@EACH
def test_kubernetes_takes_what_is_rendered(values: Document) -> None:
    found = [each for each in rendered(values) if each["kind"] != "ServiceMonitor"]
    assert [complaint for each in found for complaint in wrong(each)] == []


def test_kubernetes_takes_the_plain_manifest() -> None:
    assert [complaint for each in PLAIN for complaint in wrong(each)] == []


def test_a_key_that_kubernetes_does_not_know_is_found() -> None:
    service = the("Service", PLAIN, "edgeproxy")
    assert "prots" in wrong({**service, "spec": {**service["spec"], "prots": []}})[0]


@EACH
async def test_edgeproxy_takes_its_configuration(values: Document, tmp_path: Path) -> None:
    await taken(rendered(values), tmp_path)


async def test_edgeproxy_takes_the_plain_manifest(tmp_path: Path) -> None:
    await taken(PLAIN, tmp_path)


async def taken(among: list[Document], directory: Path) -> None:
    """`edgeproxy check` is content in the pod's own environment, with a user in every Secret."""
    daemon = workload(among)
    text = configuration(among)
    for mount in pod(daemon)["containers"][0]["volumeMounts"]:
        text = text.replace(mount["mountPath"] + "/", f"{directory}/") if "/secrets/" in mount["mountPath"] else text
    (directory / "htpasswd").write_text("argocd:$2b$05$abcdefghijklmnopqrstuuGvbDyAPyy3Wy9IZUjXIVDXiGpFZxAXe\n")
    (directory / "edgeproxy.toml").write_text(text)
    password = {each["password_env"]: "secret" for each in upstreams(text) if "password_env" in each}
    env = {**environment(daemon, among), **password}
    done = await command("check", "-c", directory / "edgeproxy.toml", env=env)
    assert done.code == 0, done.words
    assert tomllib.loads(text)["admin"] == "0.0.0.0:5001"


def upstreams(text: str) -> list[dict[str, str]]:
    return [each for registry in tomllib.loads(text).get("registry", {}).values() for each in registry["upstream"]]


def test_by_default_it_is_the_plain_manifest() -> None:
    chart, plain = plainly(rendered()), plainly(PLAIN)
    assert chart.pop(("ServiceAccount", "edgeproxy"))["automountServiceAccountToken"] is False
    assert plain.pop(("Namespace", "edgeproxy")), "which helm --create-namespace makes"
    assert chart == plain


def plainly(among: list[Document]) -> dict[tuple[str, str], Any]:
    """Without what only Helm's own housekeeping needs, and with one name for the claim."""
    found = {}
    for each in among:
        name = each["metadata"]["name"].removeprefix("edgeproxy-") if "Claim" in each["kind"] else ""
        found[each["kind"], name or each["metadata"]["name"]] = _without_housekeeping(
            {**each, "metadata": {"namespace": each["metadata"].get("namespace")}}
        )
    return found


def _without_housekeeping(part: Any) -> Any:
    if isinstance(part, dict):
        kept = {key: _without_housekeeping(value) for key, value in part.items() if key not in _HOUSEKEEPING}
        return {key: value.removeprefix("edgeproxy-") if key == "claimName" else value for key, value in kept.items()}
    return [_without_housekeeping(each) for each in part] if isinstance(part, list) else part


_HOUSEKEEPING = (
    "app.kubernetes.io/instance",
    "annotations",
    "serviceAccountName",
)


@EACH
def test_it_may_do_little(values: Document) -> None:
    found = rendered(values)
    assert rights(workload(found)) == []
    account = the("ServiceAccount", found)
    assert pod(workload(found))["serviceAccountName"] == account["metadata"]["name"]
    assert [each["kind"] for each in found if "Role" in each["kind"]] == []


@EACH
@pytest.mark.parametrize("release", ["edgeproxy", "site", "s" * 53])
def test_everything_finds_its_like(values: Document, release: str) -> None:
    found = rendered(values, release)
    names = [each["metadata"]["name"] for each in found]
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) for name in names), names
    daemon = workload(found)
    labels = daemon["spec"]["template"]["metadata"]["labels"].items()
    ports = {each["name"] for each in pod(daemon)["containers"][0]["ports"]}
    assert daemon["spec"]["selector"]["matchLabels"].items() <= labels
    for service in (each for each in found if each["kind"] == "Service"):
        assert service["spec"]["selector"].items() <= labels
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= ports
    volumes = {each["name"]: each for each in pod(daemon)["volumes"]}
    assert {each["name"] for each in pod(daemon)["containers"][0]["volumeMounts"]} == volumes.keys()
    assert volumes["config"]["configMap"]["name"] == the("ConfigMap", found)["metadata"]["name"]
    claims = [each["metadata"]["name"] for each in found if each["kind"] == "PersistentVolumeClaim"]
    if claims:
        assert claims == [volumes["cache"]["persistentVolumeClaim"]["claimName"]]


@EACH
def test_the_data_are_below_the_volumes_root(values: Document) -> None:
    """It may belong to root, and only its owner can set a directory's mode."""
    for daemon in (workload(rendered(values)), workload(PLAIN)):
        (mount,) = [each for each in pod(daemon)["containers"][0]["volumeMounts"] if each["name"] == "cache"]
        assert Path(mount["mountPath"]) in Path(environment(daemon, [])["EDGEPROXY_DATA"]).parents


def test_a_daemonset_is_reached_on_each_node() -> None:
    found = rendered(VALUES["daemonset"])
    daemon = the("DaemonSet", found)
    assert pod(daemon)["containers"][0]["ports"][0] == {"name": "registry", "containerPort": 5000, "hostPort": 5000}
    assert pod(daemon)["volumes"][0]["hostPath"] == {"path": "/var/lib/edgeproxy", "type": "Directory"}
    assert the("Service", found, "edgeproxy")["spec"]["internalTrafficPolicy"] == "Local"
    assert the("Service", found, "edgeproxy-admin")["spec"]["clusterIP"] == "None"
    assert "PersistentVolumeClaim" not in {each["kind"] for each in found}


def test_a_monitor_finds_the_admin_listener_alone() -> None:
    found = rendered(OWN)
    monitor = the("ServiceMonitor", found)
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    services = [each for each in found if each["kind"] == "Service" and wanted <= each["metadata"]["labels"].items()]
    assert [each["metadata"]["name"] for each in services] == ["edgeproxy-admin"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint == {"port": services[0]["spec"]["ports"][0]["name"], "path": "/metrics", "interval": "1m"}
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert "ServiceMonitor" not in {each["kind"] for each in rendered()}


def test_nobody_reaches_the_admin_listener_unless_somebody_is_named() -> None:
    (rule,) = the("NetworkPolicy", rendered(OWN))["spec"]["ingress"]
    assert rule == {"ports": [{"port": "registry"}]}
    assert "NetworkPolicy" not in {each["kind"] for each in rendered(VALUES["own claim"])}


def test_another_configuration_is_another_pod() -> None:
    def mark(values: Document) -> str:
        return str(workload(rendered(values))["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    assert mark({}) == mark({"storage": {"size": "1Gi"}})
    assert mark({}) != mark({"config": '[cache]\nbudget = "91GB"\n'})


def test_secrets_are_readable_for_edgeproxy_alone() -> None:
    spec = pod(workload(rendered(OWN)))
    secret = {each["name"]: each["secret"] for each in spec["volumes"] if "secret" in each}
    assert secret["secret-upstream-ca"] == {"secretName": "upstream.ca", "defaultMode": 0o440}
    mounted = [each for each in spec["containers"][0]["volumeMounts"] if each["name"] in secret]
    assert [each["mountPath"] for each in mounted] == ["/run/secrets/tls", "/run/secrets/upstream.ca"]
    assert all(each["readOnly"] for each in mounted)


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "StatefulSet"},
        {"replicas": 2},
        {"config": 'admin = "127.0.0.1:5001"\n'},
        {"config": '\n listen="0.0.0.0:80"\n'},
        {"config": {"cache": {"budget": "1GB"}}},
        {"storage": {"hostPath": "srv"}},
        {"storage": {"size": "1 GB"}},
        {"service": {"nodePort": "30500"}},
        {"secrets": ["Upper"]},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(values: Document) -> None:
    with pytest.raises(helm.HelmError):
        rendered(values)


def test_every_value_has_a_default_and_a_type() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())["properties"]
    assert defaults.keys() == schema.keys() - {"global"}
    for name, value in defaults.items():
        if schema[name].get("additionalProperties") is False:
            assert value.keys() == schema[name]["properties"].keys(), name


def test_the_chart_is_of_this_version() -> None:
    version = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert K3S["chart"].endswith(f"/edgeproxy-{version}.tgz")
    assert pod(workload(PLAIN))["containers"][0]["image"] == f"edgeproxy:{version}"


def test_k3s_takes_a_tar_of_the_chart() -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(CHART, "edgeproxy")
    values = VALUES["k3s"]
    assert rendered(values, chart=archive.getvalue()) == rendered(values)
    assert K3S["targetNamespace"] == "edgeproxy"


async def test_k3s_mirrors_as_edgeproxy_would_have_it() -> None:
    port = the("Service", rendered(VALUES["k3s"]), "edgeproxy")["spec"]["ports"][0]["nodePort"]
    done = await command("mirror", "k3s", "--url", f"http://127.0.0.1:{port}")
    assert yaml.safe_load(done.out) == yaml.safe_load((DEPLOY / "k3s/registries.yaml").read_text())
