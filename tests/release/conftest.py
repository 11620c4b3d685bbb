"""A signed copy of the toy pack, for the tests of signatures and states."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest

from service.knowledge_model.loader import load
from service.release.digests import Digests
from service.release.signatures import REVOCATIONS, SIGNATURES
from service.release.signers import read_signers
from service.release.states import Release, Standings, read_release
from tests.release import keys
from tests.release.keys import Json, Key
from tests.toy import PACK

PRODUCT = "0"
CLINICIAN, GOVERNOR = "A. Example", "B. Example"


@dataclass
class Site:
    """A folder of knowledge whose files all say that they are active, with two signers and no signature yet."""

    folder: Path
    signers: Path
    clinician: Key = field(default_factory=Key)
    governor: Key = field(default_factory=Key)
    zone: tzinfo = UTC

    def set_signers(self, *more: Json, clinician: Json | None = None, governor: Json | None = None) -> None:
        keys.signers_file(
            self.signers,
            {"name": CLINICIAN, "roles": ["clinical"], "key": self.clinician.public, **(clinician or {})},
            {"name": GOVERNOR, "roles": ["governance"], "key": self.governor.public, **(governor or {})},
            *more,
        )

    @property
    def digests(self) -> Digests:
        return Digests(load(self.folder), self.folder, PRODUCT)

    def sign(self, *, clinical: Json | None = None, governance: Json | None = None) -> None:
        """Both signatures, or with other members than are usual."""
        digests = self.digests
        self.write("clinical", keys.clinical(digests, CLINICIAN, **(clinical or {})), self.clinician)
        self.write("governance", keys.governance(digests, GOVERNOR, **(governance or {})), self.governor)

    def write(self, name: str, members: Json, key: Key, folder: str = SIGNATURES, **how: Any) -> Path:
        return keys.write_signed(self.folder / folder, name, members, key, **how)

    def revoke(
        self, revokes: Json, *, since: str = "2026-11-01", key: Key | None = None, signer: str = GOVERNOR
    ) -> None:
        members = {"signer": signer, "knowledge": self.digests.knowledge.id, "why": "An error.", "from": since}
        self.write("withdrawn", {**members, "revokes": revokes}, key or self.governor, REVOCATIONS)

    def release(self, **how: Any) -> Release:
        return read_release(load(self.folder), self.folder, PRODUCT, read_signers(self.signers), zone=self.zone, **how)

    def at(self, when: str, suspended: frozenset[str] = frozenset(), **how: Any) -> Standings:
        """How everything stands at a time in UTC."""
        return self.release(**how).at(datetime.fromisoformat(when).replace(tzinfo=UTC), suspended)

    def set_status(self, file: str, status: str) -> None:
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace('status = "active"', f'status = "{status}"', 1), encoding="utf-8")


@pytest.fixture
def new_site(tmp_path: Path) -> Callable[[], Site]:
    def new() -> Site:
        folder = Path(shutil.copytree(PACK, tmp_path / "knowledge"))
        for path in (folder / "guideline.toml", *(folder / "recommendations").glob("*.toml")):
            text = path.read_text(encoding="utf-8").replace('status = "draft"', 'status = "active"', 1)
            path.write_text(text, encoding="utf-8")
        site = Site(folder, tmp_path / "signers.toml")
        site.set_signers()
        return site

    return new


@pytest.fixture
def site(new_site: Callable[[], Site]) -> Site:
    """Signed by both."""
    site = new_site()
    site.sign()
    return site
