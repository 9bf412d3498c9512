"""A change in Git is a prefetch first: kustomize makes the hooks, edgeproxy does what the job says."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml

from tests.cli.running import Ended, Running, command
from tests.parts.images import Pusher, layer
from tests.parts.kubernetes import (
    DEPLOY,
    Document,
    configuration,
    documents,
    kustomized,
    pod,
    rendered,
    rights,
    the,
    wrong,
)
from tests.parts.processes import need, run
from tests.parts.registry import DockerRegistry

EDGEPROXY, SHOP = (
    the("Application", documents((DEPLOY / f"argocd/{name}.yaml").read_text())) for name in ("edgeproxy", "shop")
)
VALUES = EDGEPROXY["spec"]["source"]["helm"]["valuesObject"]
HOOK, WAVE = "argocd.argoproj.io/hook", "argocd.argoproj.io/sync-wave"
IMAGES = (DEPLOY / "argocd/shop/images.txt").read_text()
NAMES = [line for line in IMAGES.splitlines() if not line.startswith("#")]


@pytest.fixture(scope="module")
def shop() -> list[Document]:
    return kustomized(DEPLOY / "argocd/shop")


def test_kubernetes_takes_it(shop: list[Document]) -> None:
    """Schemas before that of 1.29 want both conditions of a podFailurePolicy, which no cluster does."""
    assert [complaint for each in shop for complaint in wrong(each, "1.29")] == []


def test_the_applications_lead_somewhere() -> None:
    for application in (EDGEPROXY, SHOP):
        assert (DEPLOY.parent / application["spec"]["source"]["path"]).is_dir()


def test_the_list_is_there_before_the_job_and_the_job_before_the_pods(shop: list[Document]) -> None:
    def turn(document: Document) -> tuple[bool, int]:
        notes = document["metadata"].get("annotations", {})
        return notes.get(HOOK) != "PreSync", int(notes.get(WAVE, "0"))

    assert turn(the("ConfigMap", shop)) < turn(the("Job", shop)) < turn(the("Deployment", shop))


def test_the_job_reads_the_list(shop: list[Document]) -> None:
    listed, job = the("ConfigMap", shop), the("Job", shop)
    (volume,) = pod(job)["volumes"]
    (container,) = pod(job)["containers"]
    assert volume["configMap"]["name"] == listed["metadata"]["name"]
    assert listed["metadata"]["namespace"] == job["metadata"]["namespace"]
    assert listed["data"] == {"images.txt": IMAGES}
    assert f"{container['volumeMounts'][0]['mountPath']}/images.txt" in container["args"]


def test_hooks_come_again_at_each_sync(shop: list[Document]) -> None:
    for each in (the("ConfigMap", shop), the("Job", shop)):
        assert each["metadata"]["annotations"][f"{HOOK}-delete-policy"] == "BeforeHookCreation"


def test_all_that_is_rolled_out_is_brought(shop: list[Document]) -> None:
    assert {each["image"] for each in pod(the("Deployment", shop))["containers"]} == set(NAMES)


def test_the_job_may_do_little(shop: list[Document]) -> None:
    assert rights(the("Job", shop)) == []


def test_the_job_may_reach_edgeproxy(shop: list[Document]) -> None:
    found = rendered(VALUES)
    (_, admin) = the("NetworkPolicy", found)["spec"]["ingress"]
    ((wanted,),) = (each["namespaceSelector"]["matchExpressions"] for each in admin["from"])
    assert (wanted["key"], wanted["operator"]) == ("kubernetes.io/metadata.name", "In")
    assert SHOP["spec"]["destination"]["namespace"] in wanted["values"]
    (address,) = re.findall(r"http://argocd:PASSWORD@(\S+)", (DEPLOY / "argocd/edgeproxy.yaml").read_text())
    service = the("Service", found, "edgeproxy-admin")
    place = f"{service['metadata']['name']}.{EDGEPROXY['spec']['destination']['namespace']}"
    assert address == f"{place}:{service['spec']['ports'][0]['port']}"


@asynccontextmanager
async def site(directory: Path, images: Sequence[str]) -> AsyncIterator[Running]:
    """edgeproxy as the example configures it, at ports of this machine; its docker.io has these images."""
    need("htpasswd")
    async with DockerRegistry(directory / "registry") as registry:
        async with aiohttp.ClientSession() as session:
            for image in images:
                repository, _, tag = image.removeprefix("docker.io/").partition(":")
                await Pusher(session, registry.url, repository).image([layer(["json"], image.encode())], tag)
        await run("htpasswd", "-cbB", directory / "htpasswd", "argocd", "secret")
        daemon = Running(directory)
        text = configuration(rendered(VALUES)).replace("/run/secrets/edgeproxy-users", str(directory))
        text = text.replace("0.0.0.0:5001", f"0.0.0.0:{daemon.admin.rpartition(':')[2]}")
        upstream = f'[registry."docker.io"]\n[[registry."docker.io".upstream]]\nurl = "{registry.url}"\n'
        place = f'data = "{daemon.data}"\nlisten = "127.0.0.1:{daemon.port}"\n'
        daemon.file.write_text(f"{place}{text}\n{upstream}")
        async with daemon:
            yield daemon


async def run_as_the_job_does(
    shop: list[Document], daemon: Running, directory: Path, password: str = "secret"
) -> Ended:
    (container,) = pod(the("Job", shop))["containers"]
    (directory / "images.txt").write_text(the("ConfigMap", shop)["data"]["images.txt"])
    words = [word.replace("/images/", f"{directory}/") for word in container["args"]]
    (variable,) = container["env"]
    url = daemon.admin.replace("http://", f"http://argocd:{password}@")
    return await command(*words, env={variable["name"]: url})


def ends_the_sync(shop: list[Document], code: int) -> bool:
    """At once, without another try."""
    (rule,) = the("Job", shop)["spec"]["podFailurePolicy"]["rules"]
    return rule["action"] == "FailJob" and code in rule["onExitCodes"]["values"]


async def test_the_sync_goes_on_when_all_is_here(shop: list[Document], tmp_path: Path) -> None:
    async with site(tmp_path, NAMES) as daemon:
        done = await run_as_the_job_does(shop, daemon, tmp_path)
        assert done.code == 0, done
        again = await run_as_the_job_does(shop, daemon, tmp_path)
        assert again.code == 0, again
    assert all(name in done.out for name in NAMES)


async def test_an_image_that_is_missing_ends_the_sync(shop: list[Document], tmp_path: Path) -> None:
    async with site(tmp_path, NAMES[:1]) as daemon:
        done = await run_as_the_job_does(shop, daemon, tmp_path)
    assert re.findall(r"(\w+)  (\S+)", done.out)[:2] == [("done", NAMES[0]), ("failed", NAMES[1])]
    assert ends_the_sync(shop, done.code)


async def test_a_wrong_login_ends_the_sync(shop: list[Document], tmp_path: Path) -> None:
    async with site(tmp_path, []) as daemon:
        done = await run_as_the_job_does(shop, daemon, tmp_path, "guessed")
    assert ends_the_sync(shop, done.code), done


async def test_a_daemon_that_is_away_is_asked_again(shop: list[Document], tmp_path: Path) -> None:
    done = await run_as_the_job_does(shop, Running(tmp_path), tmp_path)
    assert done.code not in (0, 1, 2)
    assert not ends_the_sync(shop, done.code)
    assert the("Job", shop)["spec"]["backoffLimit"] > 0
    assert pod(the("Job", shop))["restartPolicy"] == "Never", "which a podFailurePolicy takes"


def test_the_job_is_of_this_version(shop: list[Document]) -> None:
    version = yaml.safe_load((DEPLOY / "helm/edgeproxy/Chart.yaml").read_text())["appVersion"]
    assert pod(the("Job", shop))["containers"][0]["image"] == f"edgeproxy:{version}"
