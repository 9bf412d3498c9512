"""Authorities, and the certificates that they sign, made by openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_NEW = ("req", "-newkey", "rsa:2048", "-nodes")


def openssl(*words: str | Path, inside: Path, said: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *map(str, words)], cwd=inside, input=said, check=True, capture_output=True)
    return done.stdout


class Signed(NamedTuple):
    certificate: Path
    key: Path


class Authority:
    """Signs certificates in its directory, where its own is `ca.pem`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.certificate = directory / "ca.pem"
        own = ("-x509", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", "-subj", f"/CN=authority {directory.name}")
        openssl(*_NEW, *own, inside=directory)

    def signs(self, name: str, alternatives: str, subject: str = "", days: int = 2) -> Signed:
        """`alternatives` as openssl wants them: "IP:127.0.0.1"; `days` below 0 for a certificate that has expired."""
        where = self._directory
        files = ("-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(*_NEW, *files, "-subj", subject or f"/CN={name}", inside=where)
        (where / "names").write_text(f"subjectAltName={alternatives}\n")
        signs = ("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
        openssl(*signs, "-days", str(days), "-extfile", "names", "-out", f"{name}.pem", inside=where)
        return Signed(where / f"{name}.pem", where / f"{name}.key")


@dataclass(frozen=True)
class Certificates:
    """An authority, and a certificate for 127.0.0.1 that it has signed."""

    authority: Path
    certificate: Path
    key: Path


def certificates(directory: Path) -> Certificates:
    authority = Authority(directory)
    return Certificates(authority.certificate, *authority.signs("server", "IP:127.0.0.1"))
