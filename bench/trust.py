"""A client that the service lets in, and its tokens: a new one for each call."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.charts import PATH

# A round ends after so many calls: signing them takes longer than the calls themselves.
_CALLS = 1000
# More nobody answers.
_CALLS_A_SECOND = 2000
_ISSUER = "https://bench.example.org/"
BASE_URL = "https://sitbone.example.org"


@dataclass(frozen=True, slots=True)
class Trust:
    """The private key (a JWK) with which the client signs."""

    key: dict[str, Any]

    @classmethod
    def make(cls, algorithm: str) -> Trust:
        """One with a new key for this algorithm, ES384 or RS384."""
        from cds_hooks.trust.signing import new_key  # noqa: PLC0415 - only a bench with trust needs the service's packages

        return cls(new_key(algorithm))

    def settings(self, folder: Path) -> Mapping[str, str]:
        """The service's settings that let this client in and keep the store in ``folder``, where the files go too."""
        from cds_hooks.trust.signing import key_set  # noqa: PLC0415

        (folder / "keys.json").write_text(json.dumps(key_set(self.key)))
        (folder / "clients.toml").write_text(f'[clients.bench]\nissuers = ["{_ISSUER}"]\njwks_file = "keys.json"\n')
        return {
            "SITBONE_CLIENTS": str(folder / "clients.toml"),
            "SITBONE_DRAFT": "show",
            "SITBONE_STORE": str(folder),
            "SITBONE_PUBLIC_BASE_URL": BASE_URL,
        }

    def tokens(self, seconds: float, rate: float | None) -> list[str]:
        """Tokens for a round that takes so long, of so many calls a second, or of as many as are answered."""
        from cds_hooks.trust.signing import claims_for, sign  # noqa: PLC0415

        audience, now = f"{BASE_URL}{PATH}", time.time()
        calls = min(_CALLS, math.ceil(seconds * (rate or _CALLS_A_SECOND)) + 1)
        return [sign(self.key, claims_for(_ISSUER, audience, now)) for _ in range(calls)]
