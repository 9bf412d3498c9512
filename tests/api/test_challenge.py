"""How those who have to log in are told."""

import pytest

from edgeproxy.api.challenge import Challenges
from edgeproxy.oci.reference import Repository

APP = Repository("ghcr.io", "acme/app")


@pytest.mark.parametrize(
    ("challenges", "says"),
    [
        (Challenges(), []),
        (
            Challenges(logins=True),
            ['Bearer realm="http://edge/token",service="ghcr.io",scope="repository:ghcr.io/acme/app:pull"'],
        ),
        (
            Challenges(logins=True, secure=True, realm="https://site/token", service="edge", basic=True),
            [
                'Bearer realm="https://site/token",service="edge",scope="repository:ghcr.io/acme/app:pull"',
                'Basic realm="edgeproxy", charset="UTF-8"',
            ],
        ),
    ],
)
def test_the_ways_to_log_in(challenges: Challenges, says: list[str]) -> None:
    assert challenges.fields("edge", APP) == tuple(("WWW-Authenticate", each) for each in says)


def test_a_scope_says_what_it_takes() -> None:
    ((_, says),) = Challenges(logins=True, secure=True).fields("edge:5000", APP, "pull,push")
    assert says.startswith('Bearer realm="https://edge:5000/token"')
    assert says.endswith(':pull,push"')


@pytest.mark.parametrize("host", ["", 'a"b', "a b", "a,b", "x" * 300, "a/b"])
def test_what_is_no_name_is_not_repeated(host: str) -> None:
    assert Challenges(logins=True).fields(host) == ()
    assert len(Challenges(logins=True, realm="https://site/token").fields(host)) == 1


@pytest.mark.parametrize(
    ("host", "guarded"), [("login.test", True), ("Login.Test:5000", True), ("edge", False), ("login.test.", False)]
)
def test_names_for_logins(host: str, guarded: bool) -> None:
    assert Challenges(logins=True, hosts=["LOGIN.test"]).guards(host) is guarded
