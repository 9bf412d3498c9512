"""A name and its secret, as clients and registries exchange them."""

import base64
import binascii
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's name and password, or an identity token in the place of both (OAuth 2 refresh token)."""

    username: str
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """RFC 7617."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def parse_basic(text: str) -> Credentials | None:
    """What follows the word `Basic`; `None` where that is none."""
    try:
        name, colon, password = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return Credentials(name, password) if colon and name else None


lent: ContextVar[Credentials | None] = ContextVar("lent", default=None)
"""The caller's own login, where it is what opens the content to the caller: so it may be asked for with it.

It rides with the task, and with the tasks that it starts, as `passage.passed` does.
"""
