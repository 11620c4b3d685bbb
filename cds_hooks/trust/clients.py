"""The CDS clients that are trusted, each as one entry that somebody has reviewed.

Specification: Trusting CDS Clients.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cds_hooks.trust.keys import DEFAULT_ALGORITHMS, KeySource


@dataclass(frozen=True, slots=True)
class TrustedClient:
    """One CDS client. Times are in seconds.

    `issuers` and `jku` are what its tokens may name, compared letter by letter; without a `jku` the keys come another
    way, and one that a token names is not looked at. `audiences` are accepted beside the URL that is called. No
    `services`, or no `tenants`, means all of them. `lifetime` bounds exp - iat, give or take the second between two
    looks at a clock, and `skew` says how far the two clocks may be apart.
    """

    name: str
    issuers: tuple[str, ...]
    jku: str | None = None
    audiences: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    skew: int = 60
    lifetime: int = 300
    calls_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """A trusted client with the source of its keys."""

    client: TrustedClient
    keys: KeySource


class Directory:
    """The registrations, found by issuer. Raises ValueError where two clients share a name or an issuer."""

    def __init__(self, registrations: Iterable[Registration]) -> None:
        self.registrations = tuple(registrations)
        self._by_issuer: dict[str, Registration] = {}
        names = [registration.client.name for registration in self.registrations]
        if len(set(names)) < len(names):
            raise ValueError("two clients have the same name")
        for registration in self.registrations:
            for issuer in registration.client.issuers:
                if issuer in self._by_issuer:
                    raise ValueError(f"two clients have the issuer {issuer}")
                self._by_issuer[issuer] = registration

    def find(self, issuer: object) -> Registration | None:
        """The registration of this issuer, if there is one."""
        return self._by_issuer.get(issuer) if isinstance(issuer, str) else None
