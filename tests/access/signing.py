"""Keys, certificates and the tokens that they sign."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

NOW = 1_700_000_000.0
Key = ec.EllipticCurvePrivateKey


def key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def certificate(
    subject: str, own: Key, issuer: str = "", by: Key | None = None, *, ca: bool = False
) -> x509.Certificate:
    """Signed by itself, unless it says by whom; holds for a day on either side of `NOW`."""
    now = datetime.fromtimestamp(NOW, UTC)
    name, signer = ([x509.NameAttribute(NameOID.COMMON_NAME, each)] for each in (subject, issuer or subject))
    builder = x509.CertificateBuilder().subject_name(x509.Name(name)).issuer_name(x509.Name(signer))
    builder = builder.public_key(own.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    return builder.sign(by or own, hashes.SHA256())


def chain(*certificates: x509.Certificate) -> list[str]:
    return [base64.b64encode(each.public_bytes(Encoding.DER)).decode() for each in certificates]


def pem(file: Path, *certificates: x509.Certificate) -> Path:
    file.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
    return file


def key_set(file: Path, *keys: Mapping[str, Any]) -> Path:
    file.write_text(json.dumps({"keys": keys}))
    return file


def jwk(own: Key, kid: str | None = "one") -> dict[str, Any]:
    found: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(own.public_key(), as_dict=True)
    return {**found, "kid": kid} if kid else found


def access(name: str, *actions: str) -> dict[str, object]:
    return {"type": "repository", "name": name, "actions": actions}


def token(own: Any, header: Mapping[str, Any] | None = None, algorithm: str = "ES256", **claims: Any) -> str:
    told = {"iss": "site", "aud": "edge", "sub": "alice", "exp": NOW + 300, **claims}
    given = {name: value for name, value in told.items() if value is not None}
    return jwt.encode(given, own, algorithm=algorithm, headers=dict(header) if header else None)
