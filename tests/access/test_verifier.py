"""Tokens of the site's token server: signed by a key that is trusted, for us, by whom we expect, and in their time."""

import base64
import hmac
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.access.identity import Grant, Identity, Role
from edgeproxy.access.issuer import TokenInvalid
from edgeproxy.access.verifier import KeysInvalid, Verifier, read_certificates, read_key_set
from tests.access.signing import NOW, access, certificate, chain, jwk, key, key_set, pem, token

TRUSTED, OTHER = key(), key()


def canonical(name: str) -> str | None:
    return None if name == "wrong" else f"docker.io/{name}"


def by_keys(tmp_path: Path, *keys: dict[str, Any]) -> Verifier:
    return Verifier(read_key_set(key_set(tmp_path / "keys", *(keys or (jwk(TRUSTED),)))), [], "site", "edge", canonical)


def by_certificates(*certificates: x509.Certificate) -> Verifier:
    return Verifier([], certificates, "site", "edge", canonical)


def refused(verifier: Verifier, said: str, now: float = NOW) -> str:
    with pytest.raises(TokenInvalid) as told:
        verifier.verify(said, now)
    assert len(said) < 20 or said not in str(told.value)
    return str(told.value)


def encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def test_who_it_names_and_what_it_grants(tmp_path: Path) -> None:
    said = token(
        TRUSTED,
        groups=["ci", 7],
        access=[
            access("app", "pull"),
            access("both", "pull", "push"),
            access("all", "*"),
            access("wrong", "pull"),
            access("none", "paint"),
            {"type": "registry", "name": "catalog", "actions": ["*"]},
            "nonsense",
        ],
    )
    grants = frozenset(
        {
            Grant("docker.io/app", Role.PULLER),
            Grant("docker.io/both", Role.PULLER),
            Grant("docker.io/both", Role.PUSHER),
            Grant("docker.io/all", Role.PULLER),
            Grant("docker.io/all", Role.PUSHER),
            Grant("docker.io/all", Role.REPLICATOR),
        }
    )
    assert by_keys(tmp_path).verify(said, NOW) == (Identity("alice", frozenset({"ci"}), grants), NOW + 330)


def test_without_access_it_leaves_it_to_the_rules(tmp_path: Path) -> None:
    assert by_keys(tmp_path).verify(token(TRUSTED, sub=None), NOW).identity == Identity()
    nothing: Any
    for nothing in ([], {}, "all"):
        assert by_keys(tmp_path).verify(token(TRUSTED, access=nothing), NOW).identity.grants == frozenset()


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "another"}, "InvalidIssuer"),
        ({"iss": None}, "MissingRequiredClaim"),
        ({"aud": "another"}, "InvalidAudience"),
        ({"aud": None}, "MissingRequiredClaim"),
        ({"exp": None}, "MissingRequiredClaim"),
        ({"exp": NOW - 31}, "expired"),
        ({"exp": "soon"}, "not believed"),
        ({"nbf": NOW + 31}, "does not hold yet"),
        ({"nbf": []}, "not believed"),
    ],
)
def test_any_other_claim_is_refused(tmp_path: Path, claims: dict[str, Any], why: str) -> None:
    verifier = by_keys(tmp_path)
    assert verifier.verify(token(TRUSTED), NOW)
    assert why in refused(verifier, token(TRUSTED, **claims))


def test_clocks_may_differ_a_little(tmp_path: Path) -> None:
    said = token(TRUSTED, nbf=NOW + 29, exp=NOW + 30, aud=["x", "edge"])
    verifier = by_keys(tmp_path)
    assert verifier.verify(said, NOW).until == NOW + 60
    assert verifier.verify(said, NOW + 59)
    assert "expired" in refused(verifier, said, NOW + 60)


def test_the_key_of_its_name_is_taken_or_any_without_one(tmp_path: Path) -> None:
    verifier = by_keys(tmp_path, jwk(TRUSTED, "one"), jwk(OTHER, "two"))
    assert verifier.verify(token(OTHER, {"kid": "two"}), NOW)
    assert verifier.verify(token(OTHER), NOW)
    assert "InvalidSignature" in refused(verifier, token(OTHER, {"kid": "one"}))
    assert "InvalidSignature" in refused(verifier, token(key(), {"kid": "three"}))
    assert by_keys(tmp_path, jwk(TRUSTED, None)).verify(token(TRUSTED, {"kid": "libtrust"}), NOW)


def test_other_kinds_of_keys(tmp_path: Path) -> None:
    pair, edwards = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
    known = [
        {**jwt.algorithms.RSAAlgorithm.to_jwk(pair.public_key(), as_dict=True), "kid": "rsa"},
        {**jwt.algorithms.OKPAlgorithm.to_jwk(edwards.public_key(), as_dict=True), "kid": "ed"},
        jwk(TRUSTED),
    ]
    verifier = by_keys(tmp_path, *known)
    for own, algorithm in ((pair, "RS256"), (pair, "PS512"), (edwards, "EdDSA"), (TRUSTED, "ES256")):
        assert verifier.verify(token(own, algorithm=algorithm), NOW)


def test_a_public_key_is_no_password(tmp_path: Path) -> None:
    """The oldest trick: HS256 with the public key, which everybody knows, as the secret; and no signature at all."""
    public = TRUSTED.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    verifier = by_keys(tmp_path)
    _, claims, signature = token(TRUSTED).split(".")
    said = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{claims}"
    by_public = base64.urlsafe_b64encode(hmac.digest(public, said.encode(), "sha256")).rstrip(b"=").decode()
    assert "InvalidAlgorithm" in refused(verifier, f"{said}.{by_public}")
    refused(verifier, f"{encoded({'alg': 'none'})}.{claims}.")
    refused(verifier, f"{encoded({'alg': 'ES256'})}.{claims}.")
    refused(verifier, f"{encoded({'alg': 'none'})}.{claims}.{signature}")


@given(st.text(max_size=60) | st.lists(st.text("abc=_-", max_size=40), min_size=3, max_size=3).map(".".join))
def test_nonsense_is_refused(text: str) -> None:
    refused(by_certificates(certificate("ca", OTHER)), text)


# certificates


def test_a_certificate_verifies_what_its_key_has_signed() -> None:
    verifier = by_certificates(certificate("other", OTHER), certificate("us", TRUSTED))
    assert verifier.verify(token(TRUSTED, {"kid": "any"}), NOW)
    assert "InvalidSignature" in refused(verifier, token(key()))


def test_a_chain_that_ends_at_a_trusted_one_vouches_for_its_first() -> None:
    root, middle, own = key(), key(), key()
    authority = certificate("root", root, ca=True)
    between = certificate("middle", middle, "root", root, ca=True)
    leaf = certificate("leaf", own, "middle", middle)
    verifier = by_certificates(authority)
    assert verifier.verify(token(own, {"x5c": chain(leaf, between)}), NOW)
    assert "InvalidKey" in refused(verifier, token(own, {"x5c": chain(leaf)}))
    assert "InvalidSignature" in refused(verifier, token(key(), {"x5c": chain(leaf, between)}))
    assert "InvalidKey" in refused(verifier, token(own, {"x5c": chain(leaf, between)}, exp=NOW + 1e6), NOW + 2 * 86400)


def test_who_is_no_authority_vouches_for_nobody() -> None:
    root, middle, own = key(), key(), key()
    authority = certificate("root", root, ca=True)
    between = certificate("middle", middle, "root", root, ca=False)
    leaf = certificate("leaf", own, "middle", middle)
    assert "InvalidKey" in refused(by_certificates(authority), token(own, {"x5c": chain(leaf, between)}))
    assert "InvalidKey" in refused(by_certificates(between), token(own, {"x5c": chain(leaf)}))


def test_a_chain_that_says_nothing_of_ours_is_refused() -> None:
    own, root = key(), key()
    verifier = by_certificates(certificate("root", root, ca=True))
    alone = certificate("root", own, ca=True)  # the same name
    for said in (chain(alone), [], ["nonsense"], [7], chain(*[alone] * 6)):
        refused(verifier, token(own, {"x5c": said}))


# files


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "\0"])
def test_a_file_without_public_keys_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(KeysInvalid, match="keys"):
        read_key_set(tmp_path / "keys")


def test_certificates_are_read(tmp_path: Path) -> None:
    two = [certificate("one", TRUSTED), certificate("two", OTHER)]
    assert read_certificates(pem(tmp_path / "pem", *two)) == two
    (tmp_path / "pem").write_text("nothing")
    with pytest.raises(KeysInvalid, match="PEM"):
        read_certificates(tmp_path / "pem")


def test_a_certificate_of_no_known_version_is_refused() -> None:
    authority, own = key(), key()
    trusted = certificate("authority", authority, ca=True)
    (text,) = chain(certificate("leaf", own, "authority", authority))
    found = base64.b64decode(text).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1)
    said = token(own, {"x5c": [base64.b64encode(found).decode()]})
    assert "InvalidKey" in refused(by_certificates(trusted), said)
