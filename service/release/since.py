"""What changed since somebody signed: part by part, found from the folder that is kept beside a signature.

The kept folder needs no trust: only where the digest of a recommendation in it is the one that was signed is anything
said of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from service.knowledge_model.loader import load
from service.knowledge_model.model import KnowledgeError
from service.release.archive import SUFFIX, unpack
from service.release.diff import Change, diff
from service.release.digests import OWN, Digests
from service.release.signatures import SIGNATURES, Signature
from service.release.signers import CLINICAL
from service.release.states import Release

# How a part of a closure is called to people, where that is not the word of its own.
_WORDS = {
    OWN: "the recommendation itself",
    "ranking": "the ranking of causes",
    "ratings": "the ratings of imaging",
    "judged-medicines": "the medicines that are judged",
    "message": "the frame of the message to a patient",
}
_KINDS = {"threshold": "number", "derived": "derived finding", "wording": "shared words"}


@dataclass(frozen=True, slots=True)
class Since:
    """What changed of one recommendation since a signature: the parts of its closure, in words."""

    signature: Signature
    parts: tuple[str, ...]


def part_in_words(part: str) -> str:
    """How a part of a closure is called."""
    kind, _, name = part.partition(":")
    return _WORDS.get(part) or f"{_KINDS.get(kind, kind)} {name}"


def since_signed(release: Release, folder: Path, signer: str = "") -> dict[str, Since]:
    """Of each recommendation whose content was signed before and is another now, what changed; by its id.

    `folder` has the signatures. With a `signer`, since that person signed last.
    """
    found: dict[str, Since] = {}
    signed = [each for each in release.signed.signatures if each.role == CLINICAL and signer in ("", each.signer.name)]
    now = release.digests
    for signature in sorted(signed, key=lambda each: each.signed):
        edited = {id_ for id_, digest in signature.covers.items() if now.recommendations.get(id_, digest) != digest}
        before = _kept(folder, signature, now.product) if edited else None
        for id_ in edited:
            if before and before.recommendations.get(id_) == signature.covers[id_]:
                found[id_] = Since(signature, tuple(_changed(before, now, id_)))
        # What was signed as it is now has been read.
        for id_, digest in signature.covers.items():
            if now.recommendations.get(id_) == digest:
                found.pop(id_, None)
    return found


def changes_since(signature: Signature, folder: Path, now: Path) -> tuple[Change, ...] | None:
    """Everything that changed in the folder since a signature was made, to its present form in the folder `now`; None
    where the former one was not kept."""
    packed = folder / SIGNATURES / f"{signature.name}{SUFFIX}"
    if not packed.exists():
        return None
    with tempfile.TemporaryDirectory() as before:
        unpack(packed.read_bytes(), Path(before))
        return diff(Path(before), now)


def _kept(folder: Path, signature: Signature, product: str) -> Digests | None:
    """What was signed, as it is kept; None where nothing is, or what cannot be read any more."""
    packed = folder / SIGNATURES / f"{signature.name}{SUFFIX}"
    if not packed.exists():
        return None
    with tempfile.TemporaryDirectory() as before:
        unpack(packed.read_bytes(), Path(before))
        try:
            digests = Digests(load(Path(before)), Path(before), product)
        except KnowledgeError:
            return None
        # All is read while the folder is there.
        return digests if digests.recommendations else None


def _changed(before: Digests, now: Digests, id_: str) -> Iterator[str]:
    old, new = _closure(before, id_), _closure(now, id_)
    for part in dict.fromkeys((*old, *new)):
        if old.get(part) != new.get(part):
            how = "" if part in old and part in new else ", which is new to it" if part in new else ", no longer read"
            yield part_in_words(part) + how


def _closure(digests: Digests, id_: str) -> Mapping[str, str]:
    of = next(each for each in digests.knowledge.every_recommendation() if each.id == id_)
    return dict(digests.closure(of))
