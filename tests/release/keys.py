"""Keys of minisign made for a test, and what is signed with them."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.release.digests import Digests

Json = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """A key pair; `id` is by which a signature names it."""

    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    id: bytes = field(default_factory=lambda: secrets.token_bytes(8))

    @property
    def public(self) -> str:
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return b64encode(b"Ed" + self.id + raw).decode()

    def sign(self, content: bytes, *, legacy: bool = False, comment: str = "timestamp:1\tfile:x\thashed") -> bytes:
        """The file that `minisign -S` writes."""
        signature = self.private.sign(content if legacy else blake2b(content).digest())
        of_comment = self.private.sign(signature + comment.encode())
        first = b64encode((b"Ed" if legacy else b"ED") + self.id + signature)
        return b"untrusted comment: made in a test\n%b\ntrusted comment: %b\n%b\n" % (
            first,
            comment.encode(),
            b64encode(of_comment),
        )


def signers_file(path: Path, *tables: Json) -> Path:
    """A file for SITBONE_SIGNERS; a table each, of which all but name, roles and key have a default."""
    lines = []
    for table in tables:
        whole = {"valid_from": "2026-01-01", "valid_until": "2029-12-31", **table}
        lines += ["[[signers]]", f"name = {json.dumps(whole['name'])}", f"roles = {json.dumps(whole['roles'])}"]
        lines += [f"public_key = {json.dumps(whole['key'])}"]
        lines += [f"{name} = {whole[name]}" for name in ("valid_from", "valid_until")]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_signed(folder: Path, name: str, members: Json, key: Key, **how: Any) -> Path:
    """A signed file NAME.json of a folder `signatures` or `revocations`."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    content = json.dumps(members).encode()
    path.write_bytes(content)
    Path(f"{path}.minisig").write_bytes(key.sign(content, **how))
    return path


def clinical(digests: Digests, signer: str, /, **members: Any) -> Json:
    """What a clinician signs: every recommendation, unless `covers` says which."""
    return {
        **_of(digests, signer),
        "role": "clinical",
        "registration": "GMC 1234567",
        "organisation": "sports physician",
        "statement": "I read these, they are right.",
        "covers": dict(digests.recommendations),
        **members,
    }


def governance(digests: Digests, signer: str, /, **members: Any) -> Json:
    """What governance signs."""
    return {
        **_of(digests, signer),
        "role": "governance",
        "organisation": "Example Hospital",
        "statement": "These signers were entitled.",
        "release": digests.release,
        "behaviour": f"sha256:{'0' * 64}",
        **members,
    }


def _of(digests: Digests, signer: str) -> Json:
    return {
        "signer": signer,
        "knowledge": digests.knowledge.id,
        "signed": "2026-11-01",
        "effectiveFrom": "2026-11-08",
        "reviewBy": "2027-11-01",
    }
