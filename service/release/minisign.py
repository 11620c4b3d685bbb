"""Signatures in the format of minisign, verified as its program verifies them: the same files are taken and refused.

Ed25519 over the BLAKE2b-512 of a file ("ED"), or in the older form over the file itself ("Ed"), and a second signature
over the first with the trusted comment. The file is read as the program does, the first four lines with their longest
lengths; of what version 0.11 takes and version 0.12 refuses (unprintable characters) nothing is taken.
Specification: https://jedisct1.github.io/minisign, and src/minisign.c there.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    # No service whose knowledge nobody has signed has to load it.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_ALGORITHM, _PREHASHED = b"Ed", b"ED"
_UNTRUSTED, _TRUSTED = b"untrusted comment: ", b"trusted comment: "
# In bytes, with the end of the line.
_COMMENT, _SIGNED, _TRUSTED_COMMENT, _SIGNED_COMMENT = 1_023, 102, 8_191, 90
_KEY_ID, _PUBLIC_KEY, _SIGNATURE = 8, 32, 64


class NotVerifiedError(Exception):
    """A signature is not that of this file by this key. The text says why, in words for who signs."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key of minisign: the second line of the file that `minisign -G` writes beside the secret one."""

    text: str
    id: bytes
    key: Ed25519PublicKey

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises ValueError for what is none."""
        whole = _base64(text.encode("ascii", "replace"), len(_ALGORITHM) + _KEY_ID + _PUBLIC_KEY)
        if whole is None or whole[:2] != _ALGORITHM:
            raise ValueError("is no public key of minisign")
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

        return cls(text, whole[2:10], Ed25519PublicKey.from_public_bytes(whole[10:]))


def key_id_of(signature: bytes) -> bytes:
    """Of which key a signature says that it is; raises NotVerifiedError where it says nothing."""
    return _read(signature).key_id


def verify(content: bytes, signature: bytes, key: PublicKey) -> str:
    """The trusted comment of a signature over this content; raises NotVerifiedError."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

    read = _read(signature)
    if read.key_id != key.id:
        raise NotVerifiedError("is by another key")
    try:
        key.key.verify(read.signature, blake2b(content).digest() if read.prehashed else content)
    except InvalidSignature:
        raise NotVerifiedError("is not over this content, or not by this key") from None
    try:
        key.key.verify(read.of_comment, read.signature + read.comment)
    except InvalidSignature:
        raise NotVerifiedError("has another trusted comment than was signed") from None
    return read.comment.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class _Read:
    prehashed: bool
    key_id: bytes
    signature: bytes
    comment: bytes
    of_comment: bytes


def _read(text: bytes) -> _Read:
    line, rest = _line(text, _COMMENT)
    if not line.startswith(_UNTRUSTED):
        raise NotVerifiedError("does not begin with an untrusted comment")
    signed, rest = _line(rest, _SIGNED)
    comment, rest = _line(rest, _TRUSTED_COMMENT)
    if not comment.startswith(_TRUSTED):
        raise NotVerifiedError("has no trusted comment")
    if not _is_printable(comment):
        raise NotVerifiedError("has a trusted comment that cannot be shown")
    # The last line alone may lack its end.
    last, _rest = _line(rest if b"\n" in rest else rest + b"\n", _SIGNED_COMMENT)
    whole = _base64(signed, len(_ALGORITHM) + _KEY_ID + _SIGNATURE)
    of_comment = _base64(last, _SIGNATURE)
    if whole is None or of_comment is None:
        raise NotVerifiedError("is not in base64, or not of that length")
    if whole[:2] not in (_ALGORITHM, _PREHASHED):
        raise NotVerifiedError("is of another kind than Ed and ED")
    return _Read(whole[:2] == _PREHASHED, whole[2:10], whole[10:], comment.removeprefix(_TRUSTED), of_comment)


def _line(text: bytes, longest: int) -> tuple[bytes, bytes]:
    """The first line without its end, and what comes after it."""
    line, end, rest = text.partition(b"\n")
    if not end or len(line) >= longest:
        raise NotVerifiedError("ends too early, or has a line that is too long")
    return line.removesuffix(b"\r"), rest


def _is_printable(comment: bytes) -> bool:
    try:
        return all(each == "\t" or not (each <= "\x1f" or "\x7f" <= each <= "\x9f") for each in comment.decode())
    except UnicodeDecodeError:
        return False


def _base64(text: bytes, length: int) -> bytes | None:
    """These bytes; None where the text is not theirs."""
    try:
        found = b64decode(text, validate=True)
    except ValueError:
        return None
    return found if len(found) == length else None
