"""Kubernetes without a cluster: documents that Helm and kustomize themselves render, held against its schemas."""

import subprocess
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm/edgeproxy"
OLDEST = "1.26"
"""The oldest Kubernetes that what deploy/ has is for."""
_WARNING = 2
Document = dict[str, Any]


def program(name: str) -> Path:
    """One that a package for tests brings along."""
    return Path(sysconfig.get_path("scripts")) / name


def documents(text: str) -> list[Document]:
    return [each for each in yaml.safe_load_all(text) if each]


def rendered(values: Document | None = None, name: str = "edgeproxy", chart: Path | bytes = CHART) -> list[Document]:
    """What `helm template` renders; raises `helm.HelmError` where the chart's schema refuses the values."""
    with helm.Chart.load_archive(chart) if isinstance(chart, bytes) else helm.Chart.load(chart) as loaded:
        loaded.validate_schema(values)
        files = loaded.render(values, name=name, namespace="edgeproxy")
    return [each for file, text in files.items() if file.endswith(".yaml") for each in documents(text)]


def lint(values: Document | None = None) -> list[str]:
    """What `helm lint --strict` finds wrong."""
    report = helm.lint(CHART, values, strict=True)
    return [*report["errors"], *(each["error"] for each in report["messages"] if each["severity"] >= _WARNING)]


def kustomized(directory: Path) -> list[Document]:
    done = subprocess.run(
        [program("kubectl"), "kustomize", directory], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def wrong(document: Document, oldest: str = OLDEST) -> list[str]:
    """What Kubernetes' schemas, which know every key, refuse of it: the oldest and the newest."""
    found = []
    for version in (oldest, kubernetes_validate.latest_version()):
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{version}: {document['kind']}: {'.'.join(map(str, error.path))}: {error.message}")
    return found


def the(kind: str, among: Iterable[Document], name: str = "") -> Document:
    """The one of this kind, and of this name where there are more."""
    (found,) = [each for each in among if each["kind"] == kind and name in ("", each["metadata"]["name"])]
    return found


def pod(workload: Document) -> Document:
    spec: Document = workload["spec"]["template"]["spec"]
    return spec


def configuration(among: Iterable[Document]) -> str:
    return str(the("ConfigMap", among)["data"]["edgeproxy.toml"])


def environment(workload: Document, among: Iterable[Document]) -> Mapping[str, str]:
    """What the kubelet gives the container: its own variables, and one for each service unless they are not wanted."""
    (container,) = pod(workload)["containers"]
    given: dict[str, str] = {}
    if pod(workload).get("enableServiceLinks", True):
        for service in (each for each in among if each["kind"] == "Service"):
            stem = service["metadata"]["name"].upper().replace("-", "_")
            port = service["spec"]["ports"][0]["port"]
            given |= {f"{stem}_SERVICE_HOST": "10.43.0.1", f"{stem}_PORT": f"tcp://10.43.0.1:{port}"}
    return given | {each["name"]: each["value"] for each in container.get("env", ()) if "value" in each}


def rights(workload: Document) -> list[str]:
    """What its pod may do beyond what Pod Security calls restricted and a root that is read-only; volumes aside."""
    spec = pod(workload)
    shared = spec["securityContext"]
    found = []
    if spec.get("automountServiceAccountToken", True):
        found.append("a token")
    if not (shared.get("runAsNonRoot") and shared.get("runAsUser")):
        found.append("root")
    if shared.get("seccompProfile") != {"type": "RuntimeDefault"}:
        found.append("any system call")
    found += [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    for container in [*spec["containers"], *spec.get("initContainers", ())]:
        limits = dict(container["securityContext"])
        if limits != {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }:
            found.append(f"{container['name']}: {limits}")
    return found
