"""The tokens that we give to those who have logged in: sealed, so that only we can read them, and short-lived."""

import json
from typing import Any

from cryptography.fernet import Fernet, InvalidToken


class TokenInvalid(Exception):
    """Why a token is not believed; the words repeat nothing of it."""


class Issuer:
    """Fernet (AES-CBC with HMAC-SHA256): what it sealed comes back as it was, or not at all."""

    def __init__(self, key: str, life: float) -> None:
        """`key` as `new_key` gives it; `life` in seconds."""
        self._fernet = Fernet(key)
        self.life = int(life)

    def seal(self, what: dict[str, Any], now: float) -> str:
        return self._fernet.encrypt_at_time(json.dumps(what).encode(), int(now)).decode()

    def open(self, token: str, now: float) -> tuple[dict[str, Any], float]:
        """What was sealed, and until when it holds (seconds since the epoch). Raises `TokenInvalid`."""
        try:
            given = self._fernet.extract_timestamp(token)
            if now >= given + self.life:
                raise TokenInvalid("the token has expired")
            return json.loads(self._fernet.decrypt_at_time(token, self.life, int(now))), float(given + self.life)
        except (InvalidToken, ValueError) as error:
            raise TokenInvalid("the token is none of ours") from error


def new_key() -> str:
    return Fernet.generate_key().decode()
