"""Keyed hashes that stand for ids: lines and rows of one call or one patient can be told to belong together, and
nobody without the key can tell whose they are. The ids of cards are such hashes too."""

from __future__ import annotations

from hashlib import blake2b
from secrets import token_bytes, token_hex
from uuid import UUID

from service.settings import Settings


class Pseudonyms:
    """Made by the key of the settings. Without one each start has its own, and what two starts have written cannot be
    put together."""

    def __init__(self, settings: Settings) -> None:
        key = settings.log_key.encode() if settings.log_key else token_bytes(32)
        # The key takes half of the work, and is the same each time.
        self._keyed = {size: blake2b(key=key, digest_size=size) for size in (8, 16)}

    def of(self, text: str, *, size: int = 8) -> str:
        """The hash of a text, `size` bytes in hexadecimal digits: 8 or 16."""
        hashed = self._keyed[size].copy()
        hashed.update(text.encode("utf-8", "surrogatepass"))
        return hashed.hexdigest()


class CardIds:
    """Makes the uuids of cards and of what is on them: the same call has the same ids under the same key, so that
    feedback on an answer that was given again is about the same card.

    Whoever has a card and not the key cannot try out which patient it was for. Without a key there is one of its own.
    """

    def __init__(self, key: str | None = None) -> None:
        self._keyed = blake2b(key=(key or token_hex(32)).encode(), digest_size=16)

    def of(self, *parts: str) -> str:
        """The uuid that these parts have together."""
        name = "\0".join(parts).encode("utf-8", "surrogatepass")
        keyed = self._keyed.copy()
        keyed.update(name)
        return str(UUID(bytes=keyed.digest(), version=5))
