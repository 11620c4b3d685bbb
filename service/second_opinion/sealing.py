"""What a browser keeps for the service and cannot read: the state of a launch, and the session of a page.

Both are encrypted with the keys of SITBONE_APP_KEYS, the first of which encrypts, and are of use only to the browser
that holds the secret whose hash is in them. Nothing of them is stored here: any worker and any host opens them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

# In seconds: how long a launch may take, and a page may be used.
LAUNCH, SESSION = 600, 3600
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")

_Sealed = TypeVar("_Sealed", "LaunchState", "Session")


class LaunchState(msgspec.Struct, frozen=True, tag="launch"):
    """What the callback has to know of the launch; `id` is of this launch alone, `owner` the hash of the secret."""

    id: str
    client: str
    iss: str
    verifier: str
    nonce: str
    owner: str


class Session(msgspec.Struct, frozen=True, tag="session"):
    """What a page holds: the access to one chart, until `ends`; times in seconds since 1970.

    `page` is an id of this page, by which what it saves is known again; `user` a reference such as Practitioner/7.
    """

    client: str
    iss: str
    access_token: str
    scope: str
    patient: str
    page: str
    owner: str
    ends: float
    token_ends: float
    encounter: str = ""
    user: str = ""
    refresh_token: str = ""

    def __repr__(self) -> str:
        # A token is in no trace.
        return f"Session(of {self.client!r})"


class Seal:
    """Seals and opens; `keys` as in SITBONE_APP_KEYS, `clock` gives seconds since 1970."""

    def __init__(self, keys: Sequence[str], clock: Callable[[], float]) -> None:
        self._fernet, self._clock = MultiFernet([Fernet(key) for key in keys]), clock

    def close(self, what: LaunchState | Session) -> str:
        """What the browser gets."""
        return self._fernet.encrypt_at_time(msgspec.json.encode(what), int(self._clock())).decode()

    def open(self, kind: type[_Sealed], sealed: str) -> _Sealed | None:
        """What was sealed, None where it is not of this kind, not from here, or too old."""
        longest = LAUNCH if kind is LaunchState else SESSION
        try:
            opened = self._fernet.decrypt_at_time(sealed.encode(), longest, int(self._clock()))
            found = msgspec.json.decode(opened, type=kind)
        except (InvalidToken, UnicodeEncodeError, msgspec.DecodeError):
            return None
        return None if isinstance(found, Session) and found.ends <= self._clock() else found


def new_secret() -> str:
    """A secret for one browser, of 256 bits."""
    return secrets.token_urlsafe(32)


def is_secret(text: str) -> bool:
    """Whether this has the form of such a secret."""
    return _SECRET.fullmatch(text) is not None


def owner_of(secret: str) -> str:
    """The hash by which what is sealed knows its browser."""
    return hashlib.sha256(secret.encode()).hexdigest()


def belongs_to(what: LaunchState | Session, secret: str) -> bool:
    """Whether the browser with this secret may use it."""
    return is_secret(secret) and hmac.compare_digest(what.owner, owner_of(secret))
