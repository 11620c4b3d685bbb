"""Keyed hashes that stand for ids: lines and rows of one call or one patient can be told to belong together, and
nobody without the key can tell whose they are."""

from __future__ import annotations

from hashlib import blake2b
from secrets import token_bytes

from service.settings import Settings


class Pseudonyms:
    """Made by the key of the settings. Without one each start has its own, and what two starts have written cannot be
    put together."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.log_key.encode() if settings.log_key else token_bytes(32)

    def of(self, text: str, *, size: int = 8) -> str:
        """The hash of a text, `size` bytes in hexadecimal digits."""
        return blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=size).hexdigest()
