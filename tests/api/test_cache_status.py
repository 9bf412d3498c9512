"""`Cache-Status` against its two grammars: a structured field (RFC 9651), and what RFC 9211 lets stand in it."""

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.api.fields import cache_status, of_refusal, render
from edgeproxy.cache.answers import Outcome, Word
from edgeproxy.oci.errors import Refusal, Unavailable
from edgeproxy.oci.manifest import OCI_INDEX
from tests.api.conftest import HERE, Proxy
from tests.fakes.shelf import Fault, image_index

_TOKEN = r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*"
_STRING = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_INTEGER = r"-?\d{1,15}"
_PARAMETER = re.compile(rf"; *([a-z*][a-z0-9_.*-]*)(?:=({_INTEGER}|{_STRING}|{_TOKEN}))?")
_FORWARDED = ("bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial")


def parsed(field: str) -> dict[str, str]:
    """The parameters of a list of one member, `edgeproxy`; what is no such list is a failure."""
    assert field.startswith("edgeproxy")
    rest, parameters = field.removeprefix("edgeproxy"), dict[str, str]()
    while rest:
        found = _PARAMETER.match(rest)
        assert found, f"{rest!r} of {field!r}"
        assert found[1] not in parameters, field
        parameters[found[1]] = found[2] or "?1"
        rest = rest[found.end() :]
    return parameters


def check(field: str) -> dict[str, str]:
    """RFC 9211, section 2: which parameters there are, of which types, and which exclude each other."""
    parameters = parsed(field)
    assert parameters.keys() <= {"hit", "fwd", "stored", "collapsed", "ttl", "detail"}, field
    assert not parameters.keys() >= {"hit", "fwd"}, field
    assert parameters.get("hit", "?1") == "?1"
    if "fwd" in parameters:
        assert parameters["fwd"] in _FORWARDED, field
    else:
        assert not parameters.keys() & {"stored", "collapsed"}, field
    if "ttl" in parameters:
        assert re.fullmatch(_INTEGER, parameters["ttl"]), field
    if "detail" in parameters:
        assert re.fullmatch(f"{_STRING}|{_TOKEN}", parameters["detail"]), field
    return parameters


@given(
    st.builds(
        Outcome,
        st.sampled_from(get_args(Word)),
        st.none() | st.integers(-(10**9), 10**9),
        st.sampled_from(["", "uri-miss", "stale"]),
        st.text(),
    )
)
def test_any_outcome_is_well_formed(outcome: Outcome) -> None:
    parameters = check(cache_status(outcome))
    assert ("hit" in parameters) is not bool(outcome.forwarded)
    assert parameters.get("fwd", "") == outcome.forwarded
    assert ("ttl" in parameters) is (outcome.ttl is not None)
    assert ("detail" in parameters) is bool(outcome.detail)
    assert len(render((("Cache-Status", cache_status(outcome)),)).split(b"\r\n")) == 2


@pytest.mark.parametrize("kind", [Refusal, *Refusal.__subclasses__(), *Unavailable.__subclasses__()])
@pytest.mark.parametrize("asked_upstream", [True, False])
def test_so_is_every_refusals(kind: type[Refusal], asked_upstream: bool) -> None:
    fields = dict(of_refusal(kind("words", {"size": 3, "allow": "GET"}), asked_upstream=asked_upstream))
    parameters = check(fields["Cache-Status"])
    assert parameters["detail"] == kind.code
    assert ("fwd" in parameters) is asked_upstream
    assert "hit" not in parameters


async def test_what_is_said_over_the_wire(proxy: Proxy) -> None:
    image = proxy.shelf.image(HERE, "1.0")
    proxy.shelf.subjects = {}
    said = {}
    for name, target in {
        "cold": "manifests/1.0",
        "warm": "manifests/1.0",
        "pinned": f"manifests/{image.digest}",
        "tags": "tags/list",
        "referrers": f"referrers/{image.digest}",
        "absent": "manifests/absent",
        "wrong": "manifests/sha256:short",
    }.items():
        said[name] = check((await proxy.ask(f"/v2/team/app/{target}")).fields["cache-status"])
    ttl = said["warm"].pop("ttl")
    assert 0 < int(ttl) <= 300
    assert said == {
        "cold": {"fwd": "uri-miss", "stored": "?1"},
        "warm": {"hit": "?1"},
        "pinned": {"hit": "?1"},
        "tags": said["tags"],
        "referrers": said["referrers"],
        "absent": {"fwd": "uri-miss", "detail": "MANIFEST_UNKNOWN"},
        "wrong": {"detail": "DIGEST_INVALID"},
    }
    assert {said["tags"]["fwd"], said["referrers"]["fwd"]} == {"uri-miss"}


async def test_what_is_stale_says_so_with_its_age_and_the_reason(proxy: Proxy) -> None:
    image = proxy.shelf.image(HERE, "1.0")
    proxy.shelf.subjects = {image: image_index()}
    assert (await proxy.ask(f"/v2/team/app/referrers/{image.digest}")).fields["content-type"] == OCI_INDEX
    await proxy.ask("/v2/team/app/manifests/1.0")
    proxy.shelf.faults.append(Fault("listing", refusal=Unavailable('out of "order"\\')))
    for target in ("tags/list", f"referrers/{image.digest}"):
        answer = await proxy.ask(f"/v2/team/app/{target}")
        parameters = check(answer.fields["cache-status"])
        assert answer.status == 200
        assert "hit" in parameters
        assert "503" in parameters["detail"]
        assert answer.fields["warning"].startswith("111 edgeproxy ")
