"""The section of the configuration that is about TLS for clients."""

from pathlib import Path

import pytest

from tests.parts.authorities import certificates
from tests.parts.processes import need
from tests.test_config import loaded, refusal


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ('key = "a"\n', "there is no TLS without certificate: name it, too"),
        ('mtls = "required"\nclient_ca = "a"\n', "there is no TLS without certificate: name it, too"),
        ('certificate = "a"\nmtls = "optional"\n', "and client_ca need each other: write both, or neither"),
        ('certificate = "a"\nclient_ca = "a"\n', "and client_ca need each other: write both, or neither"),
        ('certificate = "a"\nmtls = "on"\n', ":3: tls.mtls: Input should be 'off', 'optional' or 'required'"),
        ('identity = "issuer"\n', ":2: tls.identity: Input should be 'subject' or 'san'"),
        ('certificat = "a"\n', ":2: unknown key 'tls.certificat': did you mean 'certificate'?"),
        (
            'certificate = "/absent"\n',
            ": tls.certificate: /absent cannot be used: No such file or directory; name a PEM",
        ),
    ],
)
def test_what_cannot_work_is_told_with_its_key(tmp_path: Path, section: str, told: str) -> None:
    found = refusal(tmp_path, f"[tls]\n{section}")
    assert told in found
    assert found.startswith(f"{tmp_path / 'edgeproxy.toml'}:")


def test_a_key_of_another_certificate_is_told(tmp_path: Path) -> None:
    need("openssl")
    signed = certificates(tmp_path / "signed")
    files = f'certificate = "{signed.certificate}"\nkey = "{tmp_path / "signed" / "ca.key"}"\n'
    assert "tls.certificate: " in (told := refusal(tmp_path, f"[tls]\n{files}"))
    assert "KEY_VALUES_MISMATCH; name a PEM file with a certificate and its key" in told


def test_without_the_section_there_is_no_tls(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").tls.encryption() is None
