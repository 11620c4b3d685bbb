"""The CDS clients that may call: clients.toml, read once and checked at start.

A mistake in it ends the start, with the file, the key and the reason. What of an entry the protocol needs is a
`cds_hooks.trust.TrustedClient`; the rest, such as the profile of the EHR, is the product's own.
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from cds_hooks.trust import (
    ALGORITHMS,
    DEFAULT_ALGORITHMS,
    Directory,
    KeySetError,
    KeySource,
    Registration,
    TrustedClient,
    load_from,
)

EHR_PROFILES = ("generic", "epic", "oracle-health")
_LARGEST_FILE = 262_144


class ClientsError(Exception):
    """The file of clients cannot be used. The text is one sentence that names file, key and reason."""


@dataclass(frozen=True, slots=True)
class Client:
    """One entry: who calls, which FHIR servers of theirs may be read, and how their EHR likes its answers.

    `internal_hosts` are those of its hosts that may have a private address.
    """

    trusted: TrustedClient
    jwks_file: Path | None
    fhir_servers: tuple[str, ...]
    ehr: str
    internal_hosts: frozenset[str]

    def keys(self) -> KeySource:
        """The source of this client's keys; nothing is loaded yet."""
        jku = self.trusted.jku
        if self.jwks_file is not None or jku is None:
            return KeySource(self.trusted.name, partial(_read_keys, self.jwks_file), self.trusted.algorithms)
        load = partial(load_from, jku, allow_internal=_host(jku) in self.internal_hosts)
        return KeySource(self.trusted.name, load, self.trusted.algorithms)


def read_clients(file: Path, services: Collection[str] = ()) -> Mapping[str, Client]:
    """The entries of `file` by their names; raises ClientsError.

    With `services`, the ids that are published, an entry may name no other. The files of keys that are named must hold
    a key; what is behind a `jku` is left to the first call.
    """
    try:
        entries = tomllib.loads(file.read_text("utf-8"))
    except OSError as problem:
        raise ClientsError(f"{file.name}: cannot be read: {problem.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ClientsError(f"{file.name}: is not TOML: {problem}.") from None
    if set(entries) != {"clients"} or not isinstance(entries["clients"], dict) or not entries["clients"]:
        raise ClientsError(f"{file.name}: must hold one table [clients.<name>] for each client and nothing else.")
    found: dict[str, Client] = {}
    for name, members in entries["clients"].items():
        found[name] = _client(file, name, members)
        for service in found[name].trusted.services:
            if services and service not in services:
                raise _wrong(file, name, "services", f"names a service that is not one of {', '.join(services)}")
    _refuse_shared_issuers(file, found)
    return found


def directory(clients: Mapping[str, Client]) -> Directory:
    """All clients, found by the issuer of a token."""
    return Directory(Registration(client.trusted, client.keys()) for client in clients.values())


def _client(file: Path, name: str, members: Any) -> Client:
    if not _NAME.fullmatch(name):
        raise ClientsError(f"{file.name}: clients.{name}: a name may hold small letters, digits and hyphens only.")
    try:
        entry = _SCHEMA.load(members)
    except ValidationError as problem:
        key, reason = _first(problem.messages)
        raise _wrong(file, name, key, reason) from None
    trusted = {key: entry.pop(key) for key in _TRUSTED & entry.keys()}
    client = Client(
        TrustedClient(name, **{key: tuple(v) if isinstance(v, list) else v for key, v in trusted.items()}),
        file.parent / entry["jwks_file"] if "jwks_file" in entry else None,
        tuple(entry["fhir_servers"]),
        entry["ehr"],
        frozenset(host.lower() for host in entry["internal_hosts"]),
    )
    if client.jwks_file is not None:
        _check_keys(file, client)
    return client


def _check_keys(file: Path, client: Client) -> None:
    source = client.keys()
    try:
        source.load()
    except KeySetError as problem:
        raise _wrong(file, client.trusted.name, "jwks_file", str(problem)) from None
