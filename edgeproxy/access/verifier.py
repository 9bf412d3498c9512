"""Tokens that the site's own token server has signed (Docker token authentication; RFC 7519)."""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jwt
from cryptography import x509
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from edgeproxy.access.identity import Grant, Identity, Role
from edgeproxy.access.issuer import TokenInvalid

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures only: a key that verifies must not be able to sign."""
_LEEWAY = 30.0
"""Seconds by which clocks may differ."""
_ACTIONS = {
    "pull": (Role.PULLER,),
    "push": (Role.PUSHER,),
    "delete": (Role.REPLICATOR,),
    "*": (Role.PULLER, Role.PUSHER, Role.REPLICATOR),
}
_LARGEST_CHAIN = 5


class KeysInvalid(Exception):
    """A file holds no keys or certificates; the words say what to name instead."""


class Verified(NamedTuple):
    identity: Identity
    until: float
    """Seconds since the epoch."""


def read_key_set(file: Path) -> list[jwt.PyJWK]:
    """A JWK set (RFC 7517), without the keys that both sign and verify. Raises `KeysInvalid` or OSError."""
    try:
        keys = [key for key in jwt.PyJWKSet.from_json(file.read_text()).keys if key.key_type != "oct"]
    except (jwt.PyJWTError, ValueError, AttributeError, TypeError) as error:
        raise KeysInvalid(f"{file} is no JWK set: {error}; name a file as in RFC 7517, section 5") from error
    if not keys:
        raise KeysInvalid(f"{file} holds no public key: name a JWK set with keys of the kinds RSA, EC or OKP")
    return keys


def read_certificates(file: Path) -> list[x509.Certificate]:
    """Raises `KeysInvalid` or OSError."""
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except ValueError as error:
        raise KeysInvalid(f"{file} holds no certificates: name a PEM file") from error


class Verifier:
    """Believes what is signed by a key of a set, by a certificate, or by one that such a certificate vouches for."""

    def __init__(
        self,
        keys: Sequence[jwt.PyJWK],
        certificates: Sequence[x509.Certificate],
        issuer: str,
        audience: str,
        canonical: Callable[[str], str | None],
    ) -> None:
        """`canonical`: the `registry/repository` that a name in an `access` claim means."""
        self._keys = keys
        self._certificates = certificates
        self._issuer = issuer
        self._audience = audience
        self._canonical = canonical

    def verify(self, token: str, now: float) -> Verified:
        """Raises `TokenInvalid`."""
        try:
            claims = self._claims(token, now)
            until = float(claims["exp"]) + _LEEWAY
            begins = float(claims.get("nbf", 0)) - _LEEWAY
        except (jwt.PyJWTError, TypeError, ValueError, KeyError, OverflowError, RecursionError) as error:
            raise TokenInvalid(f"the token is not believed: {type(error).__name__}") from error
        if now >= until:
            raise TokenInvalid("the token has expired")
        if now < begins:
            raise TokenInvalid("the token does not hold yet: compare the clocks")
        subject, groups = claims.get("sub"), claims.get("groups")
        named = frozenset(group for group in groups if isinstance(group, str)) if isinstance(groups, list) else ()
        name = subject if isinstance(subject, str) else ""
        return Verified(Identity(name, frozenset(named), self._grants(claims.get("access"))), until)

    def _claims(self, token: str, now: float) -> Mapping[str, Any]:
        """What a trusted key has signed; the times are looked at by whoever asks. Raises what jwt raises."""
        header = jwt.get_unverified_header(token)
        options: Any = {"require": ["exp"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}
        trouble: jwt.PyJWTError = jwt.InvalidSignatureError("no key fits")
        for key in self._candidates(header, now):
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=_ALGORITHMS,
                    audience=self._audience,
                    issuer=self._issuer,
                    options=options,
                )
            except (jwt.InvalidSignatureError, jwt.InvalidKeyError) as error:
                trouble = error
            except TypeError as error:  # a key of another kind than the algorithm takes
                trouble = jwt.InvalidKeyError(str(error))
        raise trouble

    def _candidates(self, header: Mapping[str, Any], now: float) -> Iterable[Any]:
        kid, chain = header.get("kid"), header.get("x5c")
        named = [key for key in self._keys if kid is not None and key.key_id == kid]
        fit = named or [key for key in self._keys if key.key_id is None or kid is None]
        yield from (key.key for key in fit)
        if isinstance(chain, list) and self._certificates:
            yield self._vouched_for(chain, now).public_key()
        else:
            yield from (certificate.public_key() for certificate in self._certificates)

    def _vouched_for(self, chain: Sequence[object], now: float) -> x509.Certificate:
        """The first certificate of a chain (RFC 7515, section 4.1.6) that ends at one of ours."""
        if len(chain) > _LARGEST_CHAIN:
            raise jwt.InvalidKeyError("the chain of certificates is too long")
        authorities = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
        try:
            found = [x509.load_der_x509_certificate(base64.b64decode(str(each), validate=True)) for each in chain]
            leaf, *others = found
            PolicyBuilder().store(Store(list(self._certificates))).time(
                datetime.fromtimestamp(now, UTC)
            ).extension_policies(
                ca_policy=authorities, ee_policy=ExtensionPolicy.permit_all()
            ).build_client_verifier().verify(leaf, others)
        except (VerificationError, ValueError, x509.InvalidVersion) as error:
            raise jwt.InvalidKeyError("the chain of certificates does not end at one that is trusted") from error
        return leaf

    def _grants(self, access: object) -> frozenset[Grant] | None:
        """The `access` claim; a token without one leaves it to the rules what its bearer may do."""
        if access is None:
            return None
        found = set()
        for item in access if isinstance(access, list) else ():
            if not isinstance(item, dict) or item.get("type") != "repository" or not isinstance(item.get("name"), str):
                continue
            name, actions = self._canonical(item["name"]), item.get("actions")
            if name is not None and isinstance(actions, list):
                known = [each for each in actions if isinstance(each, str) and each in _ACTIONS]
                found |= {Grant(name, role) for each in known for role in _ACTIONS[each]}
        return frozenset(found)
