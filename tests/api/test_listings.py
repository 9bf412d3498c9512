"""Lists over the wire: pages that lead on, filters, and the namespace that was honoured."""

import json

import pytest

from edgeproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from edgeproxy.oci.reference import Repository
from tests.api.conftest import HERE, Proxy
from tests.api.wire import Parsed
from tests.fakes.shelf import described, image_index

TAGS = [f"v{number}" for number in range(7)]


def led_on(answer: Parsed) -> str | None:
    """Where the next page is (RFC 8288; a relative reference)."""
    link = answer.fields.get("link")
    if link is None:
        return None
    assert link.startswith("</v2/"), link
    assert link.endswith('>; rel="next"'), link
    return link[1:].partition(">")[0]


async def all_pages(proxy: Proxy, target: str, key: str, namespace: str | None = None) -> list[list[str]]:
    pages: list[list[str]] = []
    following: str | None = target
    while following:
        answer = await proxy.ask(following)
        assert answer.status == 200, following
        assert answer.fields["content-type"] == "application/json"
        assert answer.fields.get("oci-namespace") == namespace
        pages.append(json.loads(answer.body)[key])
        following = led_on(answer)
        assert len(pages) < 20
    return pages


@pytest.mark.parametrize("sorted_upstream", [True, False])
@pytest.mark.parametrize(
    ("target", "namespace"),
    [
        ("/v2/team/app/tags/list?n=3", None),
        ("/v2/a.test/team/app/tags/list?n=3", None),
        ("/v2/team/app/tags/list?n=3&ns=a.test", "a.test"),
    ],
)
async def test_the_pages_of_tags(proxy: Proxy, target: str, namespace: str | None, sorted_upstream: bool) -> None:
    for tag in reversed(TAGS):
        proxy.shelf.manifest(HERE, b"{}", tag)
    proxy.shelf.pages = sorted_upstream
    assert await all_pages(proxy, target, "tags", namespace) == [TAGS[:3], TAGS[3:6], TAGS[6:]]


async def test_a_page_that_holds_all_leads_nowhere(proxy: Proxy) -> None:
    for tag in TAGS:
        proxy.shelf.manifest(HERE, b"{}", tag)
    assert await all_pages(proxy, "/v2/team/app/tags/list?n=7", "tags") == [TAGS]
    assert await all_pages(proxy, "/v2/team/app/tags/list", "tags") == [TAGS]
    assert await all_pages(proxy, "/v2/team/app/tags/list?n=0", "tags") == [[]]
    assert await all_pages(proxy, "/v2/team/app/tags/list?last=v5", "tags") == [TAGS[6:]]


@pytest.mark.parametrize("named", ["team/app", "a.test/team/app"])
async def test_a_list_of_tags_has_the_name_that_was_asked_for(proxy: Proxy, named: str) -> None:
    proxy.shelf.manifest(HERE, b"{}", "1.0")
    answer = await proxy.ask(f"/v2/{named}/tags/list")
    assert json.loads(answer.body) == {"name": named, "tags": ["1.0"]}
    asked = await proxy.ask(f"/v2/{named}/tags/list", method="HEAD")
    assert (asked.status, asked.fields["content-length"]) == (200, str(len(answer.body)))


async def test_the_catalogue_is_of_what_is_held_here(proxy: Proxy) -> None:
    assert await all_pages(proxy, "/v2/_catalog", "repositories") == [[]]
    names = [f"team/{letter}" for letter in "edcba"]
    for name in names:
        proxy.shelf.manifest(Repository("a.test", name), b"{}", "1")
        assert (await proxy.ask(f"/v2/{name}/manifests/1")).status == 200
    found = [f"a.test/{name}" for name in sorted(names)]
    assert await all_pages(proxy, "/v2/_catalog", "repositories") == [found]
    assert await all_pages(proxy, "/v2/_catalog?n=2", "repositories") == [found[:2], found[2:4], found[4:]]
    assert await all_pages(proxy, "/v2/_catalog?n=5", "repositories") == [found]
    assert await all_pages(proxy, "/v2/_catalog?n=0", "repositories") == [[]]
    assert await all_pages(proxy, f"/v2/_catalog?last={found[3]}", "repositories") == [found[4:]]


async def test_referrers_of_a_kind(proxy: Proxy) -> None:
    image = proxy.shelf.image(HERE, "1.0")
    kinds = ("a/signature", "a/bill+json")
    items = [described(OCI_MANIFEST, kind.encode(), artifactType=kind) for kind in kinds]
    proxy.shelf.subjects = {image: image_index(*items)}
    target = f"/v2/team/app/referrers/{image.digest}?ns=a.test"
    answer = await proxy.ask(target)
    assert answer.fields["content-type"] == OCI_INDEX
    assert answer.fields["oci-namespace"] == "a.test"
    assert "oci-filters-applied" not in answer.fields
    assert json.loads(answer.body)["manifests"] == items
    for kind, item in zip(kinds, items, strict=True):
        filtered = await proxy.ask(f"{target}&artifactType={kind.replace('+', '%2B')}")
        assert filtered.fields["oci-filters-applied"] == "artifactType"
        assert json.loads(filtered.body)["manifests"] == [item]


@pytest.mark.parametrize(
    ("target", "namespace"),
    [
        ("/v2/team/app/manifests/1.0?ns=a.test", "a.test"),
        ("/v2/team/app/manifests/1.0?ns=A.test", "A.test"),
        ("/v2/a.test/team/app/manifests/1.0?ns=a.test", "a.test"),
        ("/v2/team/app/manifests/1.0", None),
        ("/v2/team/app/manifests/1.0?ns=", None),
    ],
)
async def test_the_namespace_that_was_honoured_is_confirmed(proxy: Proxy, target: str, namespace: str | None) -> None:
    proxy.shelf.image(HERE, "1.0")
    for ask in (proxy.ask, proxy.ask, proxy.ask_front):
        answer = await ask(target)
        assert (answer.status, answer.fields.get("oci-namespace")) == (200, namespace)


async def test_a_namespace_that_was_not_honoured_is_not_confirmed(proxy: Proxy) -> None:
    """The path says another registry, and the path decides."""
    proxy.shelf.image(HERE, "1.0")
    answer = await proxy.ask("/v2/a.test/team/app/manifests/1.0?ns=ghcr.io")
    assert (answer.status, answer.fields.get("oci-namespace")) == (200, None)
